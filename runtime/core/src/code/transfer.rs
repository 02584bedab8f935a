//! Codes of what travels: chunks, the attachments beside an artifact, and telemetry.

super::codes! {
    ARTIFACT_SIZE = "artifact-size", Refused,
        "An artifact or attachment does not have the size that its signed release says.",
        "Publish the release again with `dunlin publish`; if it happens again, somebody alters what the broker holds.";
    ARTIFACT_DIGEST = "artifact-digest", Refused,
        "An artifact or attachment does not have the digest that its signed release says.",
        "Publish the release again with `dunlin publish`; if it happens again, somebody alters what the broker holds.";
    BLOB_UNCUTTABLE = "blob-uncuttable", Failed,
        "A file is empty, or too large for one list of chunks.",
        "Use larger chunks, up to 120 KiB, or a smaller file.";
    CHUNK_LIST = "chunk-list-malformed", Refused,
        "The chunks that a signed release lists do not make up the file that it names.",
        "Sign the release again with a `dunlin` of the same version as the devices.";
    GOLDEN_MALFORMED = "golden-malformed", Refused,
        "A file of golden vectors does not have the form that the model's card asks for.",
        "Make the release again with `dunlin release --golden` and the vectors of this model.";
    GOLDEN_MISMATCH = "golden-mismatch", Refused,
        "The model gives another answer on this host than its golden vectors say.",
        "Check that the vectors belong to this model; if they do, raise their tolerance only knowing why.";
    BASELINE_MALFORMED = "baseline-malformed", Refused,
        "A drift baseline does not have the form that the model's card asks for.",
        "Make the release again with `dunlin release --baseline` and rows of this model's inputs.";
    RECORD_MALFORMED = "telemetry-record-malformed", Failed,
        "A telemetry message is not a record that this build knows.",
        "Ignore it, or update this program to the version of the devices.";
}
