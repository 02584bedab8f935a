//! Codes of the fleet folder and the command line.

super::codes! {
    FILE = "file", Failed,
        "A file cannot be read or written.",
        "The message names the file and what the system says; check the path, the permissions and the disk.";
    KEY_MODE = "key-file-mode", Refused,
        "A key file can be read by others than its owner.",
        "Run `chmod 600` on it; if others had access, make a new key.";
    KEY_CONTENT = "key-file-content", Failed,
        "A key file does not hold a key.",
        "Restore it from your backup; a key file is PKCS#8 in PEM, a signer file TOML with `public` and `command`.";
    PASSPHRASE = "key-passphrase", Usage,
        "A key file is encrypted and its passphrase is missing, wrong, or too short for a new file.",
        "Type it when asked, or give `--passphrase-file FILE`, or set DUNLIN_PASSPHRASE; there is no way around a lost one.";
    SIGNER = "signer-failed", Failed,
        "The command of a signer file gave no valid signature.",
        "Run the command by hand: it reads the bytes to sign from standard input and answers with 64 bytes or 128 hexadecimal digits.";
    KEY_MISSING = "key-missing", Refused,
        "No key that may sign this document is in the folder, or one that is there is not the root's.",
        "Put a key of the role into `keys/` under the name that the root has for it: `dunlin root show` lists them.";
    SIGNATURES_MISSING = "signatures-missing", Refused,
        "A document needs more signatures than the keys of this folder can give.",
        "Let the others sign the file that the message names with `dunlin sign`, then bring it in with `dunlin import`.";
    SIGNED_BEFORE = "signed-before", Refused,
        "A document was signed under an earlier root; devices with the newest would refuse it.",
        "Sign it anew: `dunlin release resign` for releases, `dunlin deploy resign --all` for deployments and the device list.";
    ROOT_CHANGE = "root-change", Usage,
        "A change of the root makes no sense, or would leave a root that nobody could sign for.",
        "The message says which rule it breaks; `dunlin root show` shows the root as it stands.";
    PROVENANCE = "provenance", Refused,
        "A provenance file is no in-toto statement about the module that is released.",
        "Give the statement whose subject has the sha256 of this module.";
    RANDOM = "no-randomness", Failed,
        "The operating system gives no random numbers, so no key can be made.",
        "Run the command where getrandom(2) works.";
    FOLDER_EXISTS = "fleet-exists", Usage,
        "The folder holds a fleet already.",
        "Choose another folder, or use the fleet that is there.";
    FOLDER_MISSING = "fleet-missing", Usage,
        "No fleet's folder was found, or the folder that was named has no `fleet.toml`.",
        "Give the folder that `dunlin init` made with `--fleet DIR` or in DUNLIN_FLEET, or run the command in it.";
    FOLDER_OWNER = "fleet-owner", Refused,
        "The folder that was found around the current one belongs to another user, who could have the command run programs and send passwords to a broker of theirs.",
        "Name the folder by `--fleet DIR` if you trust its owner.";
    CONNECTION = "connection-invalid", Usage,
        "`connection.toml` of the fleet's folder is not valid.",
        "Correct the line that the message names, or replace the file with `dunlin connection set`.";
    BROKER_MISSING = "broker-missing", Usage,
        "No broker is named.",
        "Give `--broker URL`, set DUNLIN_BROKER, or keep it in the fleet's folder with `dunlin connection set --broker URL`.";
    PASSWORD = "broker-password", Usage,
        "The password for the broker cannot be had: its file is empty or cannot be read, or there is a password and no user.",
        "Write `user@` before the host in the URL, and give the password by `--password-file FILE`, in DUNLIN_BROKER_PASSWORD, or at the terminal.";
    MANIFEST = "fleet-manifest", Failed,
        "`fleet.toml` is not valid, or does not belong to the roots beside it.",
        "Correct the line that the message names.";
    NAME = "name-invalid", Usage,
        "A name is not 1 to 63 of a-z, 0-9 and '-', or starts with '-'.",
        "Choose a name of these characters.";
    RELEASE_UNKNOWN = "release-unknown", Usage,
        "The fleet has no release of this model and version.",
        "Sign one with `dunlin release`, or choose one that the message lists.";
    RELEASE_EXISTS = "release-exists", Usage,
        "The model has a release of this version already; versions are never used again.",
        "Give another `--version`.";
    BLOB_ALTERED = "blob-altered", Refused,
        "A file under `blobs/` is not what the signed release says.",
        "Restore it from your backup, or release the model again.";
    FILE_MISPLACED = "file-misplaced", Refused,
        "A signed file of the fleet's folder stands in the place of another: it is of another model, counter, audience or version.",
        "Put back the file that belongs there, from your backup.";
    DEVICE_EXISTS = "device-exists", Usage,
        "A device of this id is enrolled already.",
        "Choose another id; ids are never used again.";
    BROKER_UNFIT = "broker-unfit", Failed,
        "The broker does not do what Dunlin needs, or lets devices do what they must not.",
        "Do what the failed probes say; docs/brokers.md has a configuration that passes.";
    DEVICE_UNKNOWN = "device-unknown", Usage,
        "No device of this id is in the device list, or it is decommissioned.",
        "`dunlin devices` lists the devices of the fleet.";
    KEY_REQUEST = "key-request", Refused,
        "A file is no key request of a device, or not signed by the key that it names.",
        "Make it on the device with `dunlin enroll request` and bring the file here as it is.";
    CHANNEL_EMPTY = "channel-empty", Usage,
        "No enrolled device is in the channel.",
        "Correct the channel's name, or give `--new-channel` if devices are to be enrolled in it.";
    DEPLOYMENT_UNKNOWN = "deployment-unknown", Usage,
        "Neither this folder nor the broker has a deployment for this audience.",
        "`dunlin deploy list` lists the audiences.";
    DEPLOYMENT_REFUSED = "deployment-refused", Refused,
        "Devices refused what was deployed, or went back to the release before.",
        "The table has the code of each device's reason, which this page explains; deploy with `--retry` once the fault is elsewhere and gone.";
    DEPLOYMENT_SILENT = "deployment-silent", Unreachable,
        "Devices did not report in time that they do what was deployed.",
        "They take it up when they connect; wait longer with `--wait SECONDS`, or look at `dunlin devices` and `dunlin tail`.";
    RELEASE_UNPUBLISHED = "release-unpublished", Refused,
        "The broker does not hold a release that is to be deployed, or not with signatures that devices accept.",
        "Run `dunlin publish` for it first.";
    PUBLISH_NOT_KEPT = "publish-not-kept", Refused,
        "The broker acknowledged what was published and does not hold it; nothing was recorded in the folder.",
        "Let this user write and read below `dunlin/v1/FLEET/` (docs/brokers.md has the rules), then run the command again; `dunlin doctor --name FLEET` probes the broker.";
    PUBLISH_UNACKNOWLEDGED = "publish-unacknowledged", Unreachable,
        "The broker did not acknowledge a message; nothing was recorded in the folder.",
        "Check that this user may write below `dunlin/v1/FLEET/`: some brokers close the connection over what they do not allow; `dunlin doctor --name FLEET` probes the broker.";
    VERSION_INVALID = "version-invalid", Usage,
        "The version of a release is no semantic version.",
        "Give three numbers, as `--version 1.2.0`, with a suffix if needed, as `1.2.0-rc.1`.";
    RELEASE_LOST_GOLDEN = "release-lost-golden", Refused,
        "The release before has golden vectors and this one has none: devices serve it without checking a known answer.",
        "Give `--golden`, or sign it as it is: this is a warning.";
    RELEASE_LOST_BASELINE = "release-lost-baseline", Refused,
        "The release before has a baseline and this one has none: devices stop measuring drift.",
        "Give `--baseline`, or sign it as it is: this is a warning.";
    RELEASE_LOST_RANGE = "release-lost-range", Refused,
        "The release before declares a range, or that values are finite, and this one does not: devices stop checking it.",
        "Declare it when the model is compiled (`dunlin card` shows what is declared), or sign it as it is: this is a warning.";
    NO_NONCE = "no-nonce", Unreachable,
        "A deployment was to echo the nonce of a device that has said none.",
        "Wait until the device is connected; a channel has no nonce, so name the device as @DEVICE.";
    OUTPUT_EXISTS = "output-exists", Usage,
        "The folder to write to is there already and is not empty.",
        "Choose another folder, or remove it.";
    TENSOR_FILE = "tensor-file", Failed,
        "A file of tensors cannot be read: not .npy, .npz or .csv, or of an unsupported type or order.",
        "Save it with numpy.save, little-endian, in C order.";
    TENSOR_SHAPE = "tensor-shape", Usage,
        "A tensor does not have the shape or type that the model declares.",
        "`dunlin inspect` shows what the model takes.";
    GOLDEN_FAILED = "golden-failed", Refused,
        "The model does not give the golden outputs that it is released with.",
        "Check that the vectors belong to this model; nothing was signed.";
    CHECK_FAILED = "check-failed", Refused,
        "A compiled model does not give the outputs that it was checked against.",
        "Nothing was written. Check that the data belong to this model; if they do, report it with the ONNX file.";
    ARGUMENT = "argument", Usage,
        "An argument of a command makes no sense.",
        "The message says what was expected; `--help` has examples.";
    EQUIVOCATION = "deployment-conflict", Refused,
        "The broker holds a deployment that this fleet's folder did not sign.",
        "Another copy of the folder published it, or the key is stolen: compare the two before you go on.";
    DEMO_FAILED = "demo-failed", Failed,
        "An act of the demo did not go as it must.",
        "The table says which; run it again with `--keep` and read the agents' logs.";
}
