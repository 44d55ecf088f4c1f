//! The operations: from a typed request to the store and back to a typed answer.

use std::sync::Arc;

use aws_smithy_types::base64;
use hyper::HeaderMap;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, ChecksumMode, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, CreateBucketInput,
    CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, Error, GetBucketVersioningInput,
    GetBucketVersioningOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
    ListObjectsV2Input, ListObjectsV2Output, MetadataDirective, ObjectIdentifier, PostObjectInput, PostObjectOutput,
    PutBucketVersioningInput, PutBucketVersioningOutput, PutObjectInput, PutObjectOutput, StreamingBlob,
    UploadPartInput, UploadPartOutput,
};
use s3s::{Body, S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::body;
use super::listing::{Names, Position, Query, page_size};
use super::shared::Shared;
use super::store::{self, Condition, Content, Deleted, Headers, Version};
use super::uploads::hex;
use crate::object;

/// The content type of an object whose uploader named none, as on AWS.
const DEFAULT_TYPE: &str = "binary/octet-stream";

type Answer<T> = S3Result<S3Response<T>>;

/// The requests for PUT, COPY and multipart uploads name these alike and share no type.
macro_rules! headers_of {
    ($input:expr) => {
        Headers {
            content_type: $input.content_type.unwrap_or_else(|| DEFAULT_TYPE.to_owned()),
            content_disposition: $input.content_disposition,
            content_encoding: $input.content_encoding.and_then(|e| without_chunking(&e)),
            cache_control: $input.cache_control,
            metadata: $input.metadata,
        }
        .within_limits()
    };
}

pub(super) struct Service(pub Arc<Shared>);

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        let bucket = request.input.bucket;
        self.0.store().create_bucket(&bucket)?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{bucket}")) }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.0.store().bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
        let named = |(name, bucket): (&String, &store::Bucket)| Bucket {
            name: Some(name.clone()),
            creation_date: Some(bucket.created.clone()),
            ..Bucket::default()
        };
        let buckets = self.0.store().buckets.iter().map(named).collect();
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets), ..ListBucketsOutput::default() }))
    }

    async fn put_bucket_versioning(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> Answer<PutBucketVersioningOutput> {
        let input = request.input;
        self.0.store().bucket_mut(&input.bucket)?.versioning = input.versioning_configuration.status;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> Answer<GetBucketVersioningOutput> {
        let status = self.0.store().bucket(&request.input.bucket)?.versioning.clone();
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..GetBucketVersioningOutput::default() }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let S3Request { input, headers, trailing_headers, .. } = request;
        check_key(&input.key)?;
        self.0.store().bucket(&input.bucket)?;
        let received = body::receive(input.body, &headers, trailing_headers, &self.0.budget).await?;
        let content = Content {
            body: received.body,
            etag: hex(&received.md5),
            headers: headers_of!(input)?,
            checksums: received.checksums.clone(),
        };
        let only = Condition { if_match: input.if_match.as_ref(), if_none_match: input.if_none_match.as_ref() };
        let version = self.0.store().put(&input.bucket, &input.key, content, only)?;
        self.0.announce(&input.bucket, &input.key, &version);
        let output =
            PutObjectOutput { version_id: version.shown_id(), e_tag: etag(&version), ..PutObjectOutput::default() };
        Ok(S3Response::with_headers(output, received.checksums))
    }

    /// An HTML form. Left out: its body would reach [`put_object`](S3::put_object) with headers that describe
    /// the form and not the object.
    async fn post_object(&self, _: S3Request<PostObjectInput>) -> Answer<PostObjectOutput> {
        Err(s3_error!(NotImplemented))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let input = &request.input;
        let version = self.0.find(&request, &input.bucket, &input.key, input.version_id.as_deref())?;
        let content = readable(&version, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (body, content_range) = match input.range {
            None => (content.body.clone(), None),
            Some(range) => {
                let size = content.body.len();
                let range = range.check(size as u64)?;
                let shown = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
                (content.body.slice(to_index(range.start)..to_index(range.end)), Some(shown))
            }
        };
        let checksums = shown_checksums(content, input.checksum_mode.as_ref(), content_range.is_none());
        let headers = content.headers.clone();
        let output = GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(body.len()).ok(),
            body: Some(StreamingBlob::from(Body::from(body))),
            content_range,
            e_tag: etag(&version),
            version_id: version.shown_id(),
            last_modified: Some(version.modified.clone()),
            content_type: Some(headers.content_type),
            content_disposition: headers.content_disposition,
            content_encoding: headers.content_encoding,
            cache_control: headers.cache_control,
            metadata: headers.metadata,
            ..GetObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, checksums))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let input = &request.input;
        let version = self.0.find(&request, &input.bucket, &input.key, input.version_id.as_deref())?;
        let content = readable(&version, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let headers = content.headers.clone();
        let output = HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(content.body.len()).ok(),
            e_tag: etag(&version),
            version_id: version.shown_id(),
            last_modified: Some(version.modified.clone()),
            content_type: Some(headers.content_type),
            content_disposition: headers.content_disposition,
            content_encoding: headers.content_encoding,
            cache_control: headers.cache_control,
            metadata: headers.metadata,
            ..HeadObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, shown_checksums(content, input.checksum_mode.as_ref(), true)))
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        let input = request.input;
        check_key(&input.key)?;
        let CopySource::Bucket { bucket, key, version_id } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "the source of a copy is named as bucket/key"));
        };
        let mut store = self.0.store();
        let source = store.find(bucket, key, version_id.as_deref())?;
        let content = source.content.as_ref().ok_or_else(|| s3_error!(NoSuchKey))?;
        let refused = |wanted: &ETagCondition, so: bool| content.matches(wanted) == so;
        if input.copy_source_if_match.as_ref().is_some_and(|wanted| refused(wanted, false))
            || input.copy_source_if_none_match.as_ref().is_some_and(|wanted| refused(wanted, true))
        {
            return Err(s3_error!(PreconditionFailed));
        }
        let replace = input.metadata_directive.is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
        let copy = Content {
            body: content.body.clone(),
            etag: hex(&Md5::checksum(&content.body)),
            headers: if replace { headers_of!(input)? } else { content.headers.clone() },
            checksums: content.checksums.clone(),
        };
        let version = store.put(&input.bucket, &input.key, copy, Condition::default())?;
        drop(store);
        self.0.announce(&input.bucket, &input.key, &version);
        let last_modified = Some(version.modified.clone());
        let result = CopyObjectResult { e_tag: etag(&version), last_modified, ..CopyObjectResult::default() };
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: source.shown_id(),
            version_id: version.shown_id(),
            ..CopyObjectOutput::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        let input = request.input;
        let version = input.version_id.as_deref();
        let Deleted { version_id, marker } =
            self.0.store().delete(&input.bucket, &input.key, version, input.if_match.as_ref())?;
        Ok(S3Response::new(DeleteObjectOutput {
            delete_marker: marker.then_some(true),
            version_id,
            ..DeleteObjectOutput::default()
        }))
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        let DeleteObjectsInput { bucket, delete, .. } = request.input;
        let mut store = self.0.store();
        store.bucket(&bucket)?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for ObjectIdentifier { key, version_id, .. } in delete.objects {
            match store.delete(&bucket, &key, version_id.as_deref(), None) {
                Ok(done) => deleted.push(DeletedObject {
                    key: Some(key),
                    delete_marker: done.marker.then_some(true),
                    delete_marker_version_id: done.version_id.filter(|_| done.marker),
                    version_id,
                }),
                Err(error) => errors.push(failed(key, version_id, &error)),
            }
        }
        let deleted = (delete.quiet != Some(true)).then_some(deleted);
        Ok(S3Response::new(DeleteObjectsOutput { deleted, errors: Some(errors), ..DeleteObjectsOutput::default() }))
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        let input = request.input;
        let start = match &input.continuation_token {
            Some(token) => Some(from_token(token)?),
            None => input.start_after.clone(),
        };
        let max_keys = page_size(input.max_keys);
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: start.map(|name| Position { name, version: None }),
            max: usize::try_from(max_keys).unwrap_or_default(),
            versions: false,
        };
        let store = self.0.store();
        let page = query.run(&store.bucket(&input.bucket)?.keys);
        let names = Names { encoding: input.encoding_type };
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            key_count: i32::try_from(page.entries.len() + page.prefixes.len()).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|last| base64::encode(last.name)),
            contents: Some(page.entries.iter().filter_map(|entry| entry.object(&names)).collect()),
            common_prefixes: Some(names.prefixes(&page.prefixes)),
            prefix: input.prefix.as_deref().map(|name| names.show(name)),
            delimiter: input.delimiter.as_deref().map(|name| names.show(name)),
            start_after: input.start_after.as_deref().map(|name| names.show(name)),
            encoding_type: names.encoding,
            continuation_token: input.continuation_token,
            max_keys: Some(max_keys),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> Answer<ListObjectVersionsOutput> {
        let input = request.input;
        let max_keys = page_size(input.max_keys);
        let version = input.version_id_marker.clone().filter(|id| !id.is_empty());
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: input.key_marker.clone().filter(|key| !key.is_empty()).map(|name| Position { name, version }),
            max: usize::try_from(max_keys).unwrap_or_default(),
            versions: true,
        };
        let store = self.0.store();
        let page = query.run(&store.bucket(&input.bucket)?.keys);
        let names = Names { encoding: input.encoding_type };
        let (next_key, next_version) = page.next.map_or((None, None), |last| (Some(last.name), last.version));
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            is_truncated: Some(next_key.is_some()),
            next_key_marker: next_key.map(|name| names.show(&name)),
            next_version_id_marker: next_version,
            versions: Some(page.entries.iter().filter_map(|entry| entry.version(&names)).collect()),
            delete_markers: Some(page.entries.iter().filter_map(|entry| entry.marker(&names)).collect()),
            common_prefixes: Some(names.prefixes(&page.prefixes)),
            prefix: input.prefix.as_deref().map(|name| names.show(name)),
            delimiter: input.delimiter.as_deref().map(|name| names.show(name)),
            key_marker: input.key_marker.as_deref().map(|name| names.show(name)),
            version_id_marker: input.version_id_marker,
            encoding_type: names.encoding,
            max_keys: Some(max_keys),
            ..ListObjectVersionsOutput::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let input = request.input;
        check_key(&input.key)?;
        let upload_id = self.0.store().begin_upload(&input.bucket, &input.key, headers_of!(input)?)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload_id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        let S3Request { input, headers, trailing_headers, .. } = request;
        let part = body::receive(input.body, &headers, trailing_headers, &self.0.budget).await?;
        let checksums = part.checksums.clone();
        let e_tag = Some(ETag::Strong(hex(&part.md5)));
        self.0.store().add_part(&input.bucket, &input.key, &input.upload_id, input.part_number, part)?;
        Ok(S3Response::with_headers(UploadPartOutput { e_tag, ..UploadPartOutput::default() }, checksums))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let S3Request { input, headers, .. } = request;
        let (bucket, key, id) = (input.bucket, input.key, input.upload_id);
        let parts = input.multipart_upload.and_then(|listed| listed.parts).unwrap_or_default();
        let only = Condition { if_match: input.if_match.as_ref(), if_none_match: input.if_none_match.as_ref() };
        let mut store = self.0.store();
        let content = store.assemble(&bucket, &key, &id, &parts, &headers)?;
        let version = store.put(&bucket, &key, content, only)?;
        store.end_upload(&bucket, &key, &id)?;
        drop(store);
        self.0.announce(&bucket, &key, &version);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{bucket}/{key}")),
            bucket: Some(bucket),
            key: Some(key),
            version_id: version.shown_id(),
            e_tag: etag(&version),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let input = request.input;
        self.0.store().end_upload(&input.bucket, &input.key, &input.upload_id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

/// `s3s` has checked the length; what else is wrong with a key is wrong for all of Airlock.
fn check_key(key: &str) -> S3Result<()> {
    object::ObjectKey::new(key).map(drop).map_err(|error| s3_error!(InvalidArgument, "{error}"))
}

/// `aws-chunked` describes the transfer and not the object. Kept, it would tell readers to undo what is undone.
fn without_chunking(encoding: &str) -> Option<String> {
    let kept: Vec<&str> = encoding.split(',').map(str::trim).filter(|e| !e.is_empty() && *e != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn etag(version: &Version) -> Option<ETag> {
    version.content.as_ref().map(|content| ETag::Strong(content.etag.clone()))
}

/// The content of `version`, if the reader's conditions hold.
///
/// # Errors
/// 412 when it is not what `If-Match` names, 304 when the reader has it already.
fn readable<'a>(
    version: &'a Version,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<&'a Content> {
    let content = version.content.as_ref().ok_or_else(|| s3_error!(NoSuchKey))?;
    if if_match.is_some_and(|wanted| !content.matches(wanted)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if if_none_match.is_some_and(|known| content.matches(known)) {
        return Err(s3_error!(NotModified));
    }
    Ok(content)
}

/// Checksums are shown to readers who ask, and only beside all the bytes they are about.
fn shown_checksums(content: &Content, mode: Option<&ChecksumMode>, whole: bool) -> HeaderMap {
    if whole && mode.is_some() { content.checksums.clone() } else { HeaderMap::new() }
}

/// Cannot lose anything: the offset lies within an object that is in memory.
fn to_index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn from_token(token: &str) -> S3Result<String> {
    let name = base64::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or_else(|| s3_error!(InvalidArgument, "this continuation token is not one of ours"))
}

fn failed(key: String, version_id: Option<String>, error: &S3Error) -> Error {
    Error {
        code: Some(error.code().as_str().to_owned()),
        message: error.message().map(str::to_owned),
        key: Some(key),
        version_id,
    }
}
