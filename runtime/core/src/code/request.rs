//! Codes of requests to the local inference API.

super::codes! {
    ROUTE_UNKNOWN = "request-route", Usage,
        "The local API has no such path.",
        "The paths are /v2, /v2/health/live, /v2/health/ready, /v2/models/NAME, /v2/models/NAME/ready, /v2/models/NAME/infer, the last three also below /v2/models/NAME/versions/VERSION, /v2/models/NAME/stats, /v2/models/stats, /v2/repository/index, /dunlin/v1/device and /openapi.json, which describes them all.";
    METHOD_WRONG = "request-method", Usage,
        "The path does not take this HTTP method.",
        "Use POST for `infer` and for `/v2/repository/index`, and GET for everything else.";
    HOST_REFUSED = "request-host", Refused,
        "The Host or Origin header of a request names neither localhost nor a loopback address, as when a web page tries to reach the device's API.",
        "Call the API by 127.0.0.1, [::1] or localhost, from the device itself.";
    CONNECTIONS_FULL = "api-connections-full", Failed,
        "As many connections as may be open to the local API are in use; only health is answered beside them.",
        "Try again later, keep fewer connections, or raise `api.max_connections`.";
    HEADER_TWICE = "request-header-twice", Usage,
        "A header that decides what a request is stands in it more than once.",
        "Send it once; the message names it.";
    TOKEN = "request-token", Refused,
        "The device's local API asks for a token, and the request shows none or another.",
        "Send `Authorization: Bearer TOKEN`, with the content of the file that `api.token_file` of the agent's configuration names.";
    CONTENT_TYPE = "request-content-type", Usage,
        "The body of a request is announced as something else than JSON.",
        "Send `Content-Type: application/json` or none; a body with binary tensors has the header `Inference-Header-Content-Length`.";
    BODY_TOO_LARGE = "request-too-large", Usage,
        "The body of a request is longer than the model's inputs can be, in JSON or in binary.",
        "Send fewer samples a request; the message has the bound.";
    BODY_SLOW = "request-timeout", Failed,
        "The body of a request did not come to its end in time.",
        "Send the whole body at once.";
    BODY_MALFORMED = "request-json", Usage,
        "The body of a request is not the JSON of the Open Inference Protocol.",
        "Correct what the message names; NaN and infinities are no JSON.";
    VERSION_UNKNOWN = "model-version", Usage,
        "A request names a version of a model that does not serve.",
        "Leave the version out of the path, or name the one that `GET /v2/models/NAME` says.";
    MODEL_UNKNOWN = "model-unknown", Usage,
        "The device has no model of this name.",
        "`GET /v2` lists the models; deploy it to this device if it is missing.";
    MODEL_NOT_READY = "model-not-ready", Failed,
        "The device has the model and it does not serve: it was stopped, or is not switched to yet.",
        "Try again later; the agent's log and events say why it does not serve.";
    MODEL_BUSY = "model-busy", Failed,
        "As many requests as may wait for the model are waiting.",
        "Try again later, send less, or raise `limits.queue_requests`.";
    SEQUENCE_MISSING = "sequence-missing", Usage,
        "A request to a model of state `stream`, which remembers one request in the next, does not say to which stream it belongs.",
        "Name the stream by the parameter `sequence_id` of the request, and set `sequence_start` in its first one.";
    SEQUENCE_STATELESS = "sequence-stateless", Usage,
        "A request names a stream, and the model remembers nothing from one request to the next.",
        "Leave `sequence_id`, `sequence_start` and `sequence_end` out.";
    SEQUENCE_LOST = "sequence-lost", Failed,
        "A request goes on with a stream that is not open: it was never started, has ended, was idle for too long, or was lost with its instance or with a switch of release.",
        "Begin the stream anew with `sequence_start`; the message says why it is not open.";
    SEQUENCES_FULL = "sequences-full", Failed,
        "As many streams of the model as may be open are open.",
        "End streams with `sequence_end`, try again later, or raise `limits.streams`.";
    INPUT_UNKNOWN = "input-unknown", Usage,
        "A request has an input that the model does not take.",
        "`GET /v2/models/NAME` lists the inputs.";
    INPUT_MISSING = "input-missing", Usage,
        "A request lacks an input of the model.",
        "Send every input; `GET /v2/models/NAME` lists them.";
    INPUT_TWICE = "input-twice", Usage,
        "A request has two inputs of the same name.",
        "Send each input once.";
    INPUT_DTYPE = "input-dtype", Usage,
        "An input has another element type than the model takes.",
        "Convert it; `GET /v2/models/NAME` has the datatype.";
    INPUT_SHAPE = "input-shape", Usage,
        "An input has another shape than the model takes.",
        "Send the shape that `GET /v2/models/NAME` has; -1 stands for the number of samples.";
    INPUT_DATA = "input-data", Usage,
        "The elements of an input do not fit its shape or its datatype.",
        "Send as many elements as the shape says, flat or nested, each a value of the datatype.";
    INPUT_BATCH = "input-batch", Usage,
        "A request has no samples, more than the model takes, or inputs with different numbers of samples.",
        "Send the same number of samples in every input, within the bound of the message.";
    INPUT_RANGE = "input-range", Usage,
        "An element of an input lies outside of the range that the model is signed for.",
        "Check the unit and the scaling of the input.";
    INPUT_NOT_FINITE = "input-not-finite", Usage,
        "An element of an input is NaN or infinite.",
        "Leave out the sample, or replace the element by what the model was trained with.";
    OUTPUT_UNKNOWN = "output-unknown", Usage,
        "A request asks for an output that the model does not give.",
        "`GET /v2/models/NAME` lists the outputs; leave `outputs` out to receive all.";
    OUTPUT_NOT_JSON = "output-not-json", Failed,
        "An output holds NaN or an infinity, which its release allows and JSON cannot carry.",
        "Ask for the other outputs by name in `outputs`.";
}
