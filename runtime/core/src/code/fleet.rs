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
        "Restore it from your backup; a key file is 64 hexadecimal digits.";
    RANDOM = "no-randomness", Failed,
        "The operating system gives no random numbers, so no key can be made.",
        "Run the command where getrandom(2) works.";
    FOLDER_EXISTS = "fleet-exists", Usage,
        "The folder holds a fleet already.",
        "Choose another folder, or use the fleet that is there.";
    FOLDER_MISSING = "fleet-missing", Usage,
        "The folder is not a fleet's: it has no `fleet.toml`.",
        "Give the folder that `dunlin init` made with `--fleet DIR`.";
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
