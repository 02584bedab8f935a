//! Codes of the MQTT link and of the embedded broker.

super::codes! {
    BROKER_URL = "broker-url", Usage,
        "The broker's address is not a URL that we can use.",
        "Write it as `mqtts://host:port` for TLS or `mqtt://host:port` without, with `user@` before the host where the broker wants a user.";
    BROKER_URL_PASSWORD = "broker-url-password", Usage,
        "The broker's URL holds a password, which would end up in process lists, logs and shell histories.",
        "Leave only the user name in the URL. Commands take the password from `--password-file FILE`, from DUNLIN_BROKER_PASSWORD or at the terminal, a device from `broker.password_file`.";
    TLS_MATERIAL = "tls-material", Usage,
        "The authorities, the client certificate or its key cannot be used for TLS.",
        "Give PEM files: the certificate of the authority that signed the broker's, and for a client certificate the chain and the key that belongs to it.";
    LINK_CONFIG = "link-config", Usage,
        "A setting of the MQTT link is out of its range.",
        "Change the setting that the message names.";
    BROKER_UNREACHABLE = "broker-unreachable", Unreachable,
        "No MQTT broker answered at the address.",
        "Check the address and that the broker runs; `dunlin broker` starts one for development.";
    BROKER_REFUSED = "broker-refused", Unreachable,
        "The broker answered and refused the connection.",
        "Check the user name, the password and the client id against the broker's configuration.";
    BROKER_UNTRUSTED = "broker-untrusted", Refused,
        "The TLS handshake with the broker failed, and nothing was sent to it.",
        "Check that the authority given is the one that signed the broker's certificate, that the certificate names the host in the URL, and this machine's clock.";
    CLOCK_BEHIND = "clock-behind", Refused,
        "The broker's certificate is valid from a moment on that has not come by the device's clock; it was accepted, as its authority has signed it.",
        "Set the device's clock, or let it ask a time server.";
    DUPLICATE_IDENTITY = "duplicate-identity", Failed,
        "The broker ends the device's connections soon after it accepts them, as it does when somebody else connects with the same client id.",
        "Look for a second device with this id, or a stolen certificate; let the broker bind client ids to certificates (docs/brokers.md).";
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
