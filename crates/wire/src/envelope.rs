//! What stands around an answer: HBR's success words, ECS's bare request id, and one error body for both.

use model::Refusal;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::request::{Format, Operation, Product};
use crate::{error, xml};

/// An answer, ready for any HTTP library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

/// The answer to an operation that was done, or accepted. `payload` is one of this crate's responses.
pub fn success(operation: Operation, format: Format, request_id: &str, payload: &impl Serialize) -> Answer {
    let mut fields = match serde_json::to_value(payload) {
        Ok(Value::Object(fields)) => fields,
        // Our responses are structs of texts, numbers and lists: they always serialize.
        Ok(_) | Err(_) => Map::new(),
    };
    fields.insert("RequestId".into(), request_id.into());
    if operation.product() == Product::Hbr {
        fields.insert("Success".into(), true.into());
        // A text, unlike every HTTP library's idea of it.
        fields.insert("Code".into(), "200".into());
        fields.insert("Message".into(), "successful".into());
    }
    let root = format!("{}Response", operation.action());
    answer(200, format, &root, Value::Object(fields))
}

/// The answer to anything that was not done.
pub fn failure(refusal: &Refusal, format: Format, request_id: &str, host_id: &str) -> Answer {
    let body = json!({
        "RequestId": request_id,
        "HostId": host_id,
        "Code": refusal.code.as_str(),
        "Message": refusal.message,
        "Recommend": refusal.remedy,
    });
    answer(error::status(refusal.code), format, "Error", body)
}

fn answer(status: u16, format: Format, root: &str, value: Value) -> Answer {
    match format {
        Format::Json => Answer {
            status,
            content_type: "application/json;charset=utf-8",
            body: value.to_string().into_bytes(),
        },
        Format::Xml => Answer {
            status,
            // Clients compare this one byte for byte.
            content_type: "text/xml;charset=utf-8",
            body: xml::document(root, &value).into_bytes(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use model::Code;

    use super::*;
    use crate::request::{EcsAction, HbrAction};

    fn text(answer: &Answer) -> String {
        String::from_utf8(answer.body.clone()).unwrap()
    }

    #[test]
    fn hbr_says_success_and_ecs_does_not() {
        let job = json!({"JobId": "job-1"});
        let hbr = success(Operation::Hbr(HbrAction::CreateBackupJob), Format::Json, "ID", &job);
        let expected = json!({
            "Code": "200", "JobId": "job-1", "Message": "successful", "RequestId": "ID", "Success": true,
        });
        assert_eq!(serde_json::from_slice::<Value>(&hbr.body).unwrap(), expected);
        assert_eq!((hbr.status, hbr.content_type), (200, "application/json;charset=utf-8"));
        let ecs = success(Operation::Ecs(EcsAction::StartInstance), Format::Xml, "ID", &json!({}));
        let body = "<StartInstanceResponse><RequestId>ID</RequestId></StartInstanceResponse>";
        assert_eq!(text(&ecs), format!("<?xml version='1.0' encoding='UTF-8'?>{body}"));
    }

    #[test]
    fn errors_have_a_code_a_reason_and_a_remedy_in_both_formats() {
        let refusal =
            Refusal::new(Code::PolicyNotFound, "there is no policy po-<1>").remedy("List policies.");
        let json_answer = failure(&refusal, Format::Json, "ID", "hbr.tokyo");
        assert_eq!(json_answer.status, 404);
        let expected = json!({
            "Code": "PolicyNotExist", "HostId": "hbr.tokyo", "Message": "there is no policy po-<1>",
            "Recommend": "List policies.", "RequestId": "ID",
        });
        assert_eq!(serde_json::from_slice::<Value>(&json_answer.body).unwrap(), expected);
        let xml_answer = failure(&refusal, Format::Xml, "ID", "hbr.tokyo");
        assert_eq!(xml_answer.content_type, "text/xml;charset=utf-8");
        assert_eq!(
            text(&xml_answer),
            "<?xml version='1.0' encoding='UTF-8'?><Error><Code>PolicyNotExist</Code><HostId>hbr.tokyo</HostId>\
             <Message>there is no policy po-&lt;1&gt;</Message><Recommend>List policies.</Recommend>\
             <RequestId>ID</RequestId></Error>"
        );
    }
}
