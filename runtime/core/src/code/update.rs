//! Codes of choosing what to run.

super::codes! {
    WRONG_AUDIENCE = "deployment-wrong-audience", Refused,
        "A validly signed deployment is for another channel or device.",
        "Publish it on its own topic; if you did not publish it, somebody replays your documents.";
    DEVICE_REVOKED = "device-revoked", Refused,
        "The root revokes this device: what runs goes on, and nothing new is installed.",
        "Enrol the device anew if it still belongs to the fleet.";
    ROOT_TOO_OLD = "deployment-needs-newer-root", Refused,
        "The deployment needs a newer root than the device has; it waits for it.",
        "Publish every version of the root.";
    DEPLOY_EPOCH = "deployment-wrong-epoch", Refused,
        "The deployment is of another epoch than the root says.",
        "Sign the deployment again with the fleet's newest root, or publish that root.";
    REPLAYED = "deployment-replayed", Refused,
        "A deployment older than the one that is followed.",
        "Deploy again with a greater sequence, as `dunlin deploy` does; if you did not publish it, somebody replays your documents.";
    EQUIVOCATION = "deployment-equivocation", Refused,
        "Two different deployments carry one sequence: the deploy key is used in two places, or stolen.",
        "Find out who else signs; rotate the deploy key if it was not you.";
    SEQUENCE_JUMP = "deployment-sequence-jump", Refused,
        "The sequence of a deployment is more than 2^32 above the last one.",
        "Deploy with the next sequence; if you did not publish it, rotate the deploy key.";
    EXPIRED = "deployment-expired", Refused,
        "The deployment is past its end; what runs goes on, and nothing new is installed by it.",
        "Deploy again with a later end, or set the device's clock.";
    WRONG_MODEL = "release-wrong-model", Refused,
        "A deployment names the release of one model for another.",
        "Correct the deployment.";
    RELEASE_EPOCH = "release-epoch", Refused,
        "The release is of an older epoch than the root allows.",
        "Sign the model again as a release of the fleet's epoch.";
    BELOW_FLOOR = "release-below-floor", Refused,
        "The counter of the release is below the floor of its model.",
        "Deploy a newer release; floors are moved back only by a new deploy epoch.";
    RELEASE_REVOKED = "release-revoked", Refused,
        "The root revokes this release: it is not installed, and stops where it runs.",
        "Deploy another release.";
    RELEASE_BAD = "release-failed-before", Refused,
        "The release failed on this device before and is not tried again.",
        "Correct the model, or deploy with `retry` if the fault was elsewhere.";
    COMPAT_ABI = "release-abi", Refused,
        "The release needs another guest ABI than this runtime has.",
        "Compile the model with the `dunlin` that the devices run.";
    COMPAT_RUNTIME = "release-runtime", Refused,
        "The release needs a newer runtime.",
        "Update the runtime of the device.";
    COMPAT_SIMD = "release-simd", Refused,
        "The release uses SIMD instructions that this host does not offer.",
        "Compile the model for the SIMD level of the device.";
    GATE_UNSUPPORTED = "gate-unsupported", Refused,
        "The candidate has a gate that this runtime cannot judge; the stable release is used.",
        "Update the runtime of the device, or remove the gate.";
    FLOOR_ABOVE_STABLE = "floor-above-stable", Refused,
        "A floor is above the counter of the stable release beside it.",
        "Lower the floor, or deploy a newer stable release.";
    TOO_MANY_MODELS = "too-many-models", Refused,
        "The deployment wants more models than a device can hold.",
        "Remove models first; a device holds 12.";
    SITE_MODEL = "site-model", Refused,
        "The device's own policy does not allow this model.",
        "Deploy it elsewhere, or let the owner of the site add it to `site.models` of the agent's configuration.";
    SITE_THRESHOLD = "site-threshold", Refused,
        "The device's own policy demands more signatures than the fleet's root.",
        "Raise the threshold with `dunlin root set-threshold`, or let the owner of the site lower `site.min_*_signatures`.";
    SITE_IMPORT = "site-import", Refused,
        "The device's own policy denies a host function that the release is granted.",
        "Build the model without it, or let the owner of the site take it from `site.denied_imports`.";
    SITE_PIN = "site-pin", Refused,
        "The device's own policy holds the model at another release.",
        "Let the owner of the site change `site.pinned`.";
    PREPARE_FAILED = "release-prepare-failed", Refused,
        "The release arrived, but could not be admitted, compiled or loaded.",
        "The detail carries the code of the reason.";
    TRIAL_FAILED = "trial-failed", Failed,
        "A release failed too often in its trial; the one before serves again.",
        "Look at the device's health records, and correct the model.";
    TRIAL_HELD = "trial-held", Failed,
        "The agent, or the machine, went down again and again in a release's trial; the release is held back, and the one before serves.",
        "Find out what ended the agent: its log, the service manager, the memory of the machine. The release is tried again after ten minutes in which the agent runs, or at once with a newer deployment.";
    RELEASE_MISSING = "release-missing", Unreachable,
        "The broker does not send the document of a release that the device needs; the device goes on asking for it.",
        "Publish the release again with `dunlin publish`, and check that the device may subscribe to releases.";
    CRASHED = "worker-died", Failed,
        "The worker that ran a model died.",
        "If it happens again, the model exhausts its limits; look at its memory and stack.";
    ROOT_EXPIRED = "root-expired", Failed,
        "The trusted root is past its end; everything goes on.",
        "Sign and publish a new root.";
    DEPLOYMENT_STALE = "deployment-stale", Failed,
        "A deployment that the device follows is past its end, and no newer one came; what runs goes on, and nothing new is installed by it.",
        "Sign it again with `dunlin deploy renew`. If that was done, somebody holds it back: look at the broker.";
    FRESHNESS_UNPROVEN = "freshness-unproven", Failed,
        "For longer than the site allows no deployment has proven that it was signed lately; what runs goes on.",
        "Run `dunlin deploy --echo @DEVICE`. If that was done, somebody holds it back: look at the broker.";
    STATE_RECOVERED = "state-recovered", Failed,
        "Both copies of the device's state were damaged: it runs what was proven last, and installs nothing before it knows what is new.",
        "Check the disk, and run `dunlin deploy --echo @DEVICE`: the device then follows deployments again.";
    ROOT_LOST = "root-damaged", Failed,
        "The stored copy of the trusted root is damaged: what is installed runs on, and nothing new is followed before the same root has come from the broker again.",
        "Check the disk, and publish every version of the root with `dunlin publish`; the device follows deployments again by itself.";
    DOCUMENT_LOST = "document-lost", Failed,
        "A stored document that the state names is missing or damaged; it is fetched again.",
        "Check the disk.";
    ILLEGAL_EVENT = "illegal-event", Failed,
        "A part of the agent reported something that cannot happen in this state; it was ignored.",
        "Report it with the log: this is a fault of Dunlin.";
    STATE_FORMAT = "state-format", Refused,
        "The stored state was written by a newer version; it is not touched.",
        "Run the newer version again, or enrol the device anew.";
    STATE_MISMATCH = "state-mismatch", Refused,
        "The stored state, the root, the enrolment and the configuration do not belong together.",
        "Put back the name and the files that the message asks for, or enrol the device again with an empty state folder.";
}
