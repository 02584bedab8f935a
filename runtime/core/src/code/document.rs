//! Codes of documents and trust.

super::codes! {
    BODY_TOO_LARGE = "document-body-too-large", Refused,
        "The body of a signed document is longer than 48,000 bytes.",
        "Split it: fewer models a deployment, or a chunk list of its own for the artifact.";
    BODY_MALFORMED = "document-malformed", Refused,
        "The body of a signed document is not the strict JSON of its kind: an unknown or duplicate field, a wrong type, or nesting too deep.",
        "Make the document with a `dunlin` of the same version as the devices.";
    SCHEMA_UNKNOWN = "document-schema-unknown", Refused,
        "A signed document has a format that this build does not know.",
        "Update this program, or sign the document with a `dunlin` that writes schema 1.";
    RULE_BROKEN = "document-rule-broken", Refused,
        "A signed document breaks a rule of its kind: a bound, a uniqueness or a sum.",
        "The message names the rule; correct the document and sign it again.";
    ENVELOPE_TOO_LARGE = "envelope-too-large", Refused,
        "An envelope is longer than 64 KiB.",
        "Only documents of `dunlin` belong on signed topics; find out who publishes there.";
    ENVELOPE_MALFORMED = "envelope-malformed", Refused,
        "The bytes are not a DSSE envelope: broken JSON or base64, or more than 16 signatures.",
        "Publish the document again; if it happens again, find out who publishes on that topic.";
    ENVELOPE_DIFFERS = "envelope-differs", Refused,
        "Signatures over different documents cannot be joined in one envelope.",
        "Let every signer sign the same file.";
    SIGNATURE_THRESHOLD = "signature-threshold", Refused,
        "Too few keys of the right role signed the document: a wrong key, a wrong role, or altered bytes.",
        "Sign it with the keys that the root names for that role; if you did not publish it, somebody else did.";
    ROLE_UNUSED = "role-unused", Refused,
        "The document belongs to a role that the root of trust does not use.",
        "Add the role to a new root if it is wanted.";
    WRONG_TYPE = "document-wrong-type", Refused,
        "A validly signed document of another kind stands where this kind belongs.",
        "Publish it on its own topic; if you did not publish it, somebody replays your documents.";
    WRONG_FLEET = "wrong-fleet", Refused,
        "A validly signed document belongs to another fleet.",
        "Use one set of keys a fleet, and publish with the folder of the right fleet.";
    WRONG_DIGEST = "document-wrong-digest", Refused,
        "A document is not the one that was asked for by its digest.",
        "Publish the release again with `dunlin publish`; if it happens again, somebody alters what the broker holds.";
    ROOT_VERSION = "root-version", Refused,
        "A root is not exactly one version newer than the trusted one.",
        "Publish every version of the root; devices walk them one by one.";
}
