//! The log behind a server, and its topics.

use bytes::Bytes;
use reqwest::Method;

use super::reply::strange;
use super::{Query, Remote};
use crate::client::LogRequest;
use crate::error::{Error, Result};
use crate::wire::{
    Appended, Code, DURABILITY_HEADER, Durability, LogInfo, LogLine, percent_encode,
};

impl Remote {
    pub(crate) async fn log(&self) -> Result<LogInfo> {
        self.read("/v1/log", "").await?.success()?.json()
    }

    pub(crate) async fn append(
        &self,
        partition: u16,
        topic: &str,
        data: Bytes,
        asked: Option<Durability>,
    ) -> Result<(Appended, Durability)> {
        let target = topic_target(partition, topic)?;
        let request = || {
            let request = self.request(Method::POST, &target, "")?.body(data.clone());
            Ok(match asked {
                Some(asked) => request.header(DURABILITY_HEADER, asked.as_str()),
                None => request,
            })
        };
        let reply = self.change(request).await?.success()?;
        Ok((reply.json()?, reply.durability()))
    }

    pub(crate) async fn read_log(
        &self,
        partition: u16,
        request: LogRequest,
    ) -> Result<Vec<LogLine>> {
        let mut query = Query::default();
        query.bytes("from", Some(&request.from.to_string()));
        query.bytes("limit", Some(&request.limit.to_string()));
        query.bytes("topic", request.topic.as_ref());
        let target = format!("/v1/log/{partition}");
        let body = self.read(&target, &query.0).await?.success()?.into_body();
        let lines = body.split(|&byte| byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let line = |line| {
            serde_json::from_slice(line)
                .map_err(|error| strange(format!("a line of the log is none: {error}")))
        };
        lines.map(line).collect()
    }
}

/// Where records of a topic are appended. The slashes of its name are none of the path.
fn topic_target(partition: u16, topic: &str) -> Result<String> {
    if matches!(topic, "" | "." | "..") {
        let detail = format!("{topic:?} as the name of a topic can't stand in a URL");
        return Err(Error::new(Code::InvalidArgument, detail));
    }
    let topic = percent_encode(topic.as_bytes()).replace('/', "%2F");
    Ok(format!("/v1/log/{partition}/{topic}"))
}
