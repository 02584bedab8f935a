//! Key files keep their key and nobody else's, and signers are believed only as far as they sign.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::file::{self as files, Readers};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn passphrase(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_string())
}

#[test]
fn a_key_survives_its_file_encrypted_or_not() {
    let folder = folder();
    let (key, path) = (generate().unwrap(), folder.path().join("a.key"));
    write(&path, &key, None).unwrap();
    assert!(!is_encrypted(&path).unwrap());
    assert_eq!(read(&path, &NoPassphrase).unwrap().public(), key.public());
    write(&path, &key, Some("correct horse")).unwrap();
    assert!(is_encrypted(&path).unwrap());
    assert_eq!(files::mode(&path).unwrap(), 0o600);
    assert_eq!(read(&path, &passphrase("correct horse")).unwrap().public(), key.public());
    for wrong in [read(&path, &passphrase("correct house")), read(&path, &NoPassphrase)] {
        let error = wrong.unwrap_err();
        assert_eq!(error.code().id, "key-passphrase");
        assert!(!error.to_string().contains("house"));
    }
    // Files hold neither the seed nor its digits.
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(32).any(|window| window == *key.to_seed()));
    assert!(!String::from_utf8(bytes).unwrap().contains(key.to_text().as_str()));
}

#[test]
fn a_short_passphrase_is_refused_and_writes_nothing() {
    let folder = folder();
    let path = folder.path().join("a.key");
    let error = write(&path, &generate().unwrap(), Some("1234567")).unwrap_err();
    assert_eq!(error.code().id, "key-passphrase");
    assert!(!path.exists());
}

/// RFC 8410, section 10.3; `tests/peers/signatures.py` tries encrypted files of OpenSSL.
#[test]
fn files_of_other_tools_are_read() {
    let folder = folder();
    let path = folder.path().join("a.key");
    let pem = "-----BEGIN PRIVATE KEY-----\n\
               MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
               -----END PRIVATE KEY-----\n";
    files::replace(&path, pem.as_bytes(), Readers::Owner).unwrap();
    let key = read(&path, &NoPassphrase).unwrap();
    assert_eq!(key.public().to_string(), "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
    // What earlier versions wrote.
    write_device_key(&path, &key).unwrap();
    assert_eq!(read(&path, &NoPassphrase).unwrap().public(), key.public());
    assert_eq!(read_device_key(&path).unwrap().public(), key.public());
}

#[test]
fn what_others_may_read_or_what_is_no_key_is_refused_and_not_repeated() {
    let folder = folder();
    let path = folder.path().join("a.key");
    let open = |content: &[u8]| {
        files::replace(&path, content, Readers::Owner).unwrap();
        read(&path, &NoPassphrase).unwrap_err()
    };
    let certificate = "-----BEGIN CERTIFICATE-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END CERTIFICATE-----\n";
    for content in [&b"hunter2"[..], b"\xff", b"", b"-----BEGIN PRIVATE KEY-----", certificate.as_bytes()] {
        let error = open(content);
        assert_eq!(error.code().id, "key-file-content", "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
    write(&path, &generate().unwrap(), None).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = read(&path, &NoPassphrase).unwrap_err();
    assert_eq!(error.code().id, "key-file-mode");
    assert!(error.to_string().contains("chmod 600"));
}

/// A signer file whose command is a shell's.
fn command(folder: &tempfile::TempDir, public: &PublicKey, script: &str, timeout_s: u32) -> Signer {
    let script = toml::Value::String(script.to_string());
    let text =
        format!("public = \"{public}\"\ncommand = [\"sh\", \"-c\", {script}]\ntimeout_s = {timeout_s}\n");
    let path = folder.path().join("hsm.toml");
    files::replace(&path, text.as_bytes(), Readers::Owner).unwrap();
    Signer::open(&path, &NoPassphrase).unwrap()
}

#[test]
fn a_command_signs_and_its_answer_is_verified() {
    let folder = folder();
    let secret = generate().unwrap();
    let signature = secret.sign(b"message");
    let hex = dunlin_core::hex::encode(&signature);
    let raw = folder.path().join("raw");
    std::fs::write(&raw, signature).unwrap();
    // It must be given the message on its input, whole.
    let given = folder.path().join("given");
    for answer in
        [format!("echo {hex}"), format!("echo {}", hex.to_uppercase()), format!("cat {}", raw.display())]
    {
        let script = format!("cat > {}; {answer}", given.display());
        let signer = command(&folder, &secret.public(), &script, 60);
        assert_eq!(signer.sign(b"message").unwrap(), signature);
        assert_eq!(std::fs::read(&given).unwrap(), b"message");
        assert_eq!(signer.public(), secret.public());
        // The same answer to another message is no signature of it.
        let error = signer.sign(b"another").unwrap_err();
        assert_eq!(error.code().id, "signer-failed");
        assert!(error.to_string().contains("not a signature of the public key"), "{error}");
    }
}

#[test]
fn a_command_that_fails_babbles_or_hangs_is_told_from_one_that_signs() {
    let folder = folder();
    let public = generate().unwrap().public();
    for (script, part) in [
        ("exit 3", "exit status: 3"),
        ("echo no", "is no signature"),
        ("true", "0 bytes"),
        ("yes", "ended with"),
        ("exec sleep 600", "took more than"),
    ] {
        let error = command(&folder, &public, script, 1).sign(b"message").unwrap_err();
        assert_eq!(error.code().id, "signer-failed");
        assert!(error.to_string().contains(part), "{script}: {error}");
    }
    let path = folder.path().join("gone.toml");
    let text = format!("public = \"{public}\"\ncommand = [\"/no/such/program\"]\n");
    files::replace(&path, text.as_bytes(), Readers::Owner).unwrap();
    let error = Signer::open(&path, &NoPassphrase).unwrap().sign(b"").unwrap_err();
    assert!(error.to_string().contains("cannot be started"), "{error}");
}

#[test]
fn a_signer_file_is_strict_and_private() {
    let folder = folder();
    let path = folder.path().join("hsm.toml");
    let public = generate().unwrap().public();
    for text in [
        format!("public = \"{public}\"\ncommand = []\n"),
        format!("public = \"{public}\"\n"),
        format!("public = \"{public}\"\ncommand = [\"a\"]\ncolour = 1\n"),
        "command = [\"a\"]\n".to_string(),
    ] {
        files::replace(&path, text.as_bytes(), Readers::Owner).unwrap();
        assert_eq!(Signer::open(&path, &NoPassphrase).unwrap_err().code().id, "key-file-content", "{text}");
    }
    files::replace(&path, format!("public = \"{public}\"\ncommand = [\"a\"]\n").as_bytes(), Readers::Anyone)
        .unwrap();
    assert_eq!(Signer::open(&path, &NoPassphrase).unwrap_err().code().id, "key-file-mode");
}
