//! Codes of the MQTT link and of the embedded broker.

super::codes! {
    BROKER_URL = "broker-url", Usage,
        "The broker's address is not a URL that we can use.",
        "Write it as `mqtt://host:port`, or `mqtt://user@host:port`.";
    BROKER_URL_PASSWORD = "broker-url-password", Usage,
        "The broker's URL holds a password, which would end up in process lists, logs and shell histories.",
        "Leave only the user name in the URL and give the password in the place that the configuration has for it.";
    TLS_UNSUPPORTED = "tls-unsupported", Usage,
        "The broker's URL asks for TLS, which this version does not speak.",
        "Use `mqtt://` over a network that you trust, or a tunnel on the same host; releases are signed in either case.";
    LINK_CONFIG = "link-config", Usage,
        "A setting of the MQTT link is out of its range.",
        "Change the setting that the message names.";
    BROKER_UNREACHABLE = "broker-unreachable", Unreachable,
        "No MQTT broker answered at the address.",
        "Check the address and that the broker runs; `dunlin broker` starts one for development.";
    BROKER_REFUSED = "broker-refused", Unreachable,
        "The broker answered and refused the connection.",
        "Check the user name, the password and the client id against the broker's configuration.";
    MESSAGE_TOO_LARGE = "message-too-large", Failed,
        "A message is larger than the largest packet of the link and was not sent.",
        "Send less in one message, or raise the packet limit here and at the broker.";
    PUBLISH_WINDOW_FULL = "publish-window-full", Failed,
        "As many messages as may wait for their acknowledgement are waiting already.",
        "Await an earlier publish, then publish again.";
    TOPIC_INVALID = "topic-invalid", Failed,
        "A topic or a topic filter is not a valid one.",
        "Follow what the message says about it.";
    SUBSCRIPTION_REFUSED = "subscription-refused", Refused,
        "The broker refused a subscription.",
        "Allow the filter that the message names in the broker's access rules for this user.";
    LINK_CLOSED = "link-closed", Failed,
        "The MQTT link was closed before the work was done.",
        "Open a new link and do the work again.";
    LISTEN_ADDRESS_IN_USE = "listen-address-in-use", Failed,
        "Another process listens at this address already.",
        "Stop the other process or choose another port; port 0 takes any free one.";
    LISTEN_ADDRESS = "listen-address", Failed,
        "Listening at this address is not possible.",
        "Choose an address of this host and a port that you may use.";
    BROKER_START = "broker-start", Failed,
        "The embedded broker did not start.",
        "Follow what the message says about it; a store directory must be writable.";
}
