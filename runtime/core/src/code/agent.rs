//! Codes of the agent.

super::codes! {
    CONFIG_FILE = "config-file", Usage,
        "The configuration, or a file that it names, cannot be read.",
        "The message names the file and what the system says; check the path and the permissions.";
    CONFIG_INVALID = "config-invalid", Usage,
        "The configuration has an unknown key, a missing key or a value out of its range.",
        "Correct the line that the message names; `docs/config.md` lists every key.";
    CONFIG_WRITABLE = "config-file-writable", Refused,
        "The configuration, the root of trust, the enrolment, a certificate, the state folder, or the folder that one of them lies in can be written by a user who is neither root nor the user of the agent.",
        "Look at what it says, then `chown` it to the user of the agent and `chmod o-w` it.";
    SECRET_MODE = "secret-file-mode", Refused,
        "A secret file of the device can be read by others than its owner.",
        "Run `chmod 600` on it; if others had access, enrol the device with a new key or password.";
    NOT_PREPARED = "release-not-prepared", Failed,
        "A switch was asked for to a release that is not loaded.",
        "This is a fault in the agent: report it with the log around it.";
    CONTRACT_BROKEN = "contract-broken", Refused,
        "The module's inputs or outputs are not the ones that its release signs.",
        "Make the release again from this module with `dunlin release`.";
    DATA_PLANE_ENDED = "data-plane-ended", Failed,
        "The part of the agent that runs models has ended or cannot start.",
        "Start the agent again; if it happens again, report it with the log around it.";
    WORKER_STUCK = "worker-stuck", Failed,
        "A call of a model did not end long after its deadline, or the process that runs models did not answer, and the process was killed for it.",
        "A release that does it three times is replaced by itself; report it with the release's artifact.";
    NOT_ISOLATED = "worker-not-isolated", Refused,
        "The kernel lacks a layer of the isolation that models run in.",
        "The message names it; use a kernel with landlock (5.13) and seccomp, or do without `worker.require_isolation`.";
    AGENT_RUNNING = "agent-already-running", Failed,
        "Another agent uses the same state folder.",
        "Stop the other agent, or give this one a `state_dir` of its own.";
    STATE_LOST = "state-lost", Failed,
        "The device's state is damaged, and no copy of it can be used.",
        "Check the disk, and enrol the device again with an empty state folder: without its state it cannot distinguish old deployments from new ones.";
    STORE_DAMAGED = "store-damaged", Failed,
        "A file in the device's state folder was damaged; it was put right, or is fetched again.",
        "The detail names the file. Check the disk: where one file was damaged, others may follow.";
    STATE_TOO_LARGE = "state-too-large", Failed,
        "The device's state does not fit its slot on disk.",
        "This is a fault in the agent: report it with the log around it.";
    DISK_FULL = "disk-full", Failed,
        "There is no space left on the device's disk.",
        "Free some space. What is installed is served meanwhile, and what could not be stored is tried again by itself.";
    DISK_FAILED = "disk-failed", Failed,
        "The device's disk cannot be read or written.",
        "The message names the file and what the system says; check the permissions and the disk.";
    BLOB_MISSING = "blob-missing", Failed,
        "A file that a release needs is not in the device's store.",
        "It is fetched again; if it happens again, check the disk.";
    CHUNK_DIGEST = "chunk-digest", Refused,
        "A chunk that the broker sent does not have the digest that the signed release says.",
        "Publish the release again with `dunlin publish`; if it happens again, somebody alters what the broker holds.";
    CHUNK_MISSING = "chunk-missing", Unreachable,
        "The broker does not send a chunk that a release needs; the agent goes on asking for it.",
        "Publish the release again with `dunlin publish`, and check that the device may subscribe to chunks.";
    SLOW_RETRIEVAL = "slow-retrieval", Unreachable,
        "A model has come very slowly for ten minutes, though there is a connection; the agent goes on.",
        "Look at the link and at the broker's load; a broker that trickles on purpose looks the same.";
    RECORD_UNQUEUED = "record-unqueued", Failed,
        "A telemetry record cannot be queued or sent.",
        "This is a fault in the agent: report it with the log around it.";
    ENROLMENT = "enrolment-unusable", Usage,
        "The device has no state yet, and the enrolment that it should start from is missing or not its own.",
        "Put the whole folder that `dunlin enroll` made on the device, and start the agent with its `agent.toml`.";
    SYSTEM = "system-resource", Failed,
        "The operating system refuses something that every process needs.",
        "The message names it; check the limits of the process.";
}
