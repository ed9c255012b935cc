"""Signatures and pulls: tampering is told by what was done, and nothing half-written is left."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from slipway.errors import IntegrityError, RequestError, SourceNotFound
from slipway.packaging.layout import SIGNATURE_NAME
from slipway.packaging.signing import (
    Signer,
    Trust,
    check_signature,
    sign_manifest,
)
from slipway.packaging.verify import verify_bundle
from slipway.protocols import Registry, Store
from slipway.registries import open_registry
from slipway.reports import RegisteredVersion
from slipway.settings import Settings
from slipway.specs import PromotionRequest
from slipway.stages.promoting import weigh
from slipway.stages.pulling import pull
from slipway.stages.signing import look_at_signature, sign_stored
from slipway.stores import open_store
from slipway.stores.local import LocalStore
from tests.promotion_cases import release

pytest.importorskip("model_signing", reason="model-signing is not installed")

MANIFEST = b'{"files": []}'


@dataclass(frozen=True)
class Keys:
    """A private key and its public one, as files."""

    private: Path
    public: Path


def keys(folder: Path) -> Keys:
    folder.mkdir()
    made = ec.generate_private_key(ec.SECP256R1())
    (folder / "private.pem").write_bytes(_private(made))
    public = made.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "public.pem").write_bytes(public)
    return Keys(folder / "private.pem", folder / "public.pem")


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def certified(folder: Path) -> tuple[Signer, Path]:
    """A key with a certificate, and the authority that made it."""
    folder.mkdir()
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "our authority")])
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "release manager")])
    now = dt.datetime.now(dt.UTC)

    def issue(subject: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> bytes:
        building = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not ca,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=ca,
                    crl_sign=ca,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
                critical=False,
            )
        )
        if not ca:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
            building = building.add_extension(usage, critical=False)
        return building.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "ca.pem").write_bytes(issue(root, authority.public_key(), ca=True))
    (folder / "own.pem").write_bytes(issue(own, key.public_key(), ca=False))
    (folder / "own.key").write_bytes(_private(key))
    return Signer(key=folder / "own.key", certificate=folder / "own.pem"), folder / "ca.pem"


def test_what_a_key_signed_its_public_key_makes_valid(tmp_path: Path) -> None:
    mine = keys(tmp_path / "mine")
    signature = sign_manifest(MANIFEST, Signer(key=mine.private))
    check_signature(MANIFEST, signature, Trust(key=mine.public))


def test_what_a_certificate_signed_its_authority_makes_valid(tmp_path: Path) -> None:
    signer, authority = certified(tmp_path / "one")
    signature = sign_manifest(MANIFEST, signer)
    check_signature(MANIFEST, signature, Trust(authority=authority))
    _, other = certified(tmp_path / "two")
    with pytest.raises(IntegrityError, match="made with another key, or changed"):
        check_signature(MANIFEST, signature, Trust(authority=other))


def test_another_key_another_manifest_and_no_signature_are_refused(tmp_path: Path) -> None:
    mine, yours = keys(tmp_path / "mine"), keys(tmp_path / "yours")
    signature = sign_manifest(MANIFEST, Signer(key=mine.private))
    with pytest.raises(IntegrityError, match=r"yours/public\.pem makes valid: it was made with an"):
        check_signature(MANIFEST, signature, Trust(key=yours.public))
    with pytest.raises(IntegrityError, match=r"signature of another manifest\.json"):
        check_signature(MANIFEST + b" ", signature, Trust(key=mine.public))
    with pytest.raises(IntegrityError, match="is no signature"):
        check_signature(MANIFEST, b"{}", Trust(key=mine.public))
    forged = signature.replace(signature[-60:-50], b"AAAAAAAAAA")
    with pytest.raises(IntegrityError, match="is no signature"):
        check_signature(MANIFEST, forged, Trust(key=mine.public))


def test_a_file_that_is_no_key_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(RequestError, match="SLIPWAY_SIGNING_KEY must be a PEM file"):
        sign_manifest(MANIFEST, Signer(key=tmp_path / "key.pem"))
    with pytest.raises(RequestError, match=r"key\.pem cannot be used to check signatures"):
        check_signature(MANIFEST, b"{}", Trust(key=tmp_path / "key.pem"))


@pytest.fixture
def mine(tmp_path: Path) -> Keys:
    return keys(tmp_path / "mine")


@pytest.fixture
def released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, mine: Keys
) -> RegisteredVersion:
    """A signed version with the alias champion; whoever reads it has the right public key."""
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_REGISTRY", f"memory://{request.node.nodeid}")
    monkeypatch.setenv("SLIPWAY_SIGNING_KEY", str(mine.private))
    monkeypatch.setenv("SLIPWAY_VERIFY_KEY", str(mine.public))
    store, registry = places()
    version = release(store, registry, tmp_path / "made")
    sign_stored(store, version.bundle_digest, Settings())
    registry.set_alias("table", "champion", 1)
    return version


def places() -> tuple[Store, Registry]:
    settings = Settings()
    return open_store(settings.store_uri), open_registry(settings.registry_uri)


@pytest.mark.parametrize("address", ["table@champion", "table/1"])
def test_a_pulled_bundle_is_verified_signed_and_tested(
    released: RegisteredVersion, mine: Keys, tmp_path: Path, address: str
) -> None:
    report = pull(address, tmp_path / "out")
    assert report.passed
    assert (report.version, report.digest) == (1, released.bundle_digest)
    assert report.signature == str(mine.public)
    assert [variant.passed for variant in report.selftest.variants] == [True, True]
    assert (tmp_path / "out" / SIGNATURE_NAME).is_file()
    assert verify_bundle(tmp_path / "out", digest=released.bundle_digest).passed
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_signing_again_with_the_same_key_makes_no_second_signature(
    released: RegisteredVersion,
) -> None:
    store, _ = places()
    sign_stored(store, released.bundle_digest, Settings())
    assert len(store.records("signatures")) == 1


@pytest.mark.usefixtures("released")
def test_a_pull_with_another_key_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_VERIFY_KEY", str(keys(tmp_path / "yours").public))
    with pytest.raises(IntegrityError, match="it was made with another key"):
        pull("table@champion", tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_pull_of_what_nobody_signed_is_refused_where_a_key_is_configured(
    released: RegisteredVersion, tmp_path: Path
) -> None:
    store, _ = places()
    assert isinstance(store, LocalStore)
    for name in store.records("signatures"):
        store._record(name).unlink()
    with pytest.raises(IntegrityError, match=r"is not signed: it has no signature\.json"):
        pull("table@champion", tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []
    assert look_at_signature(store, released.bundle_digest, Settings()).state == "absent"


def test_a_damaged_object_is_not_pulled(released: RegisteredVersion, tmp_path: Path) -> None:
    store, _ = places()
    assert isinstance(store, LocalStore)
    listed = store.read_bytes(released.bundle_digest).decode()
    digest = "sha256:" + listed.split('"path":"golden/golden.npz"')[0][-67 - 2 : -2][-64:]
    path = store._path(digest)
    path.chmod(0o644)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(IntegrityError, match="not what its name says"):
        pull("table@champion", tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.usefixtures("released")
def test_each_kind_of_tampering_has_its_own_message(tmp_path: Path) -> None:
    pull("table@champion", tmp_path / "out")

    def told(change: str) -> str:
        folder = tmp_path / change
        pull("table@champion", folder)
        labels = folder / "assets" / "labels.json"
        if change == "changed":
            labels.write_bytes(b"x" + labels.read_bytes()[1:])
        elif change == "missing":
            labels.unlink()
        else:
            (folder / "extra").write_bytes(b"x")
        (finding,) = verify_bundle(folder).findings
        assert finding.code == change
        return finding.message

    messages = {change: told(change) for change in ("changed", "missing", "extra")}
    assert "assets/labels.json is sha256:" in messages["changed"]
    assert messages["missing"] == "assets/labels.json is in the manifest but not there"
    assert messages["extra"] == "extra is not in the manifest"


@pytest.mark.usefixtures("released")
@pytest.mark.parametrize(
    ("address", "error", "match"),
    [
        ("table", RequestError, "write NAME@ALIAS or NAME/VERSION"),
        ("table@nobody", SourceNotFound, "no alias 'nobody'"),
        ("table/7", SourceNotFound, "there are: 1"),
        ("tabel/1", SourceNotFound, "there are: none"),
    ],
)
def test_an_address_that_names_nothing_is_refused(
    tmp_path: Path, address: str, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        pull(address, tmp_path / "out")


@pytest.mark.usefixtures("released")
def test_a_pull_does_not_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(RequestError, match="exists already"):
        pull("table@champion", tmp_path / "out")


@pytest.mark.usefixtures("released")
def test_a_policy_may_want_a_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> str:
        policy = {"signature": True}
        asked = {"name": "table", "version": 1, "alias": "other", "by": "anna", "policy": policy}
        rules = weigh(PromotionRequest.model_validate(asked)).report.rules
        return next(rule.outcome for rule in rules if rule.rule == "signature")

    assert outcome() == "passed"
    monkeypatch.setenv("SLIPWAY_VERIFY_KEY", str(keys(tmp_path / "yours").public))
    assert outcome() == "failed"
