"""What goes wrong between us and an archive: named errors, nothing half here, nothing stored twice, no secret told."""

import errno
import io
import logging
import os
import pickle
import shutil
import subprocess
import traceback
from pathlib import Path

import numpy as np
import pytest
from archive_stub import Stub
from dicom_series import SECRETS, make_series, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from faimed3d._atomic import UNFINISHED_PREFIX
from faimed3d.archive import DicomWeb, connection
from faimed3d.errors import ArchiveError, ArchiveUnavailable, DamagedFile, NoImages, NotStored
from faimed3d.volume import TensorDicom3D

TOKEN = "eyJhbGciOiJ-a-Secret-word"


@pytest.fixture
def stub():
    server = Stub()
    yield server
    server.close()


@pytest.fixture
def pacs(stub, tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0)
    return DicomWeb(stub.url, TOKEN, cache=tmp_path / "cache", timeout=20, attempts=3)


@pytest.fixture
def files(stub, tmp_path):
    """Files of a series, which the archive holds, too."""
    paths = write(make_series(), tmp_path / "scan")
    for path in paths:
        stub.add(Path(path).read_bytes())
    return paths


def be_impatient(pacs, fault):
    """Wait for an answer no longer than it takes, where none comes."""
    if fault == "silence":
        pacs._connection.timeout = 0.3


def left_in(folder):
    return [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]


def told(error):
    return "".join(traceback.format_exception(error.value)) + repr(error.value)


class TestFetch:
    @pytest.mark.parametrize("fault", ["503", "429", "cut", "cut within", "reset", "silence"])
    def test_what_passes_is_tried_again(self, stub, pacs, files, tmp_path, fault):
        stub.faults = ["", fault, fault]
        be_impatient(pacs, fault)
        np.testing.assert_array_equal(TensorDicom3D.create(pacs.search()), TensorDicom3D.create(tmp_path / "scan"))
        assert sum(count for (kind, _), count in stub.asked.items() if kind == "object") == len(files) + 2

    @pytest.mark.parametrize(
        ("fault", "error", "text"),
        [
            ("503", ArchiveUnavailable, r"object 2\.25\.\d+: 503 Service Unavailable \(3 attempts\)"),
            ("cut", ArchiveUnavailable, r"the transfer was cut \(3 attempts\)"),
            ("cut within", ArchiveUnavailable, r"the transfer was cut"),
            ("silence", ArchiveUnavailable, r"no answer within 0\.3 s"),
            ("reset", ArchiveUnavailable, r"no connection to http://localhost:\d+"),
            ("401", ArchiveError, r"401 Unauthorized: the server refuses this user; see auth="),
            ("404", ArchiveError, "404 Not Found"),
            ("page", ArchiveError, "the server sent text/html, not application/dicom"),
            ("two", ArchiveError, "the server sent several objects, where one was asked for"),
            ("elsewhere", ArchiveError, "sends us to another address; give that as url"),
            ("junk", DamagedFile, "what came is no DICOM object"),
            ("short", DamagedFile, "what came is damaged or cut"),
            ("other", DamagedFile, "another object came"),
        ],
    )
    def test_what_stays_is_named_and_leaves_nothing_half(self, stub, pacs, files, tmp_path, fault, error, text):
        stub.faults, stub.always = ["", ""], fault
        be_impatient(pacs, fault)
        row = pacs.search().iloc[0]
        with pytest.raises(error, match=text) as caught:
            pacs.fetch(row)
        assert not [secret for secret in (TOKEN, "Doe", *SECRETS) if secret in told(caught)]
        whole = {Path(file).read_bytes() for file in files}
        assert {Path(file).read_bytes() for file in left_in(tmp_path / "cache")} <= whole
        stub.always = ""
        before = sum(stub.asked.values())
        here = len(left_in(tmp_path / "cache"))
        np.testing.assert_array_equal(TensorDicom3D.create(row), TensorDicom3D.create(tmp_path / "scan"))
        assert here >= 2
        assert sum(stub.asked.values()) - before <= len(files) - here + 2  # the objects that lack, and their list

    def test_an_archive_that_is_none(self, stub, pacs, files):
        stub.touched, stub.always = "search", "page"
        with pytest.raises(ArchiveError, match="search: the answer is no DICOM JSON: is this the address") as caught:
            pacs.search(PatientID=SECRETS[1])
        assert SECRETS[1] not in told(caught)

    def test_a_list_that_ends_early(self, stub, pacs, files):
        """The slices at the end would lack, and nothing in the others would tell."""
        row = pacs.search().iloc[0]
        stub.quirks |= {"ignores offset", "pages of two"}
        with pytest.raises(ArchiveError, match=r"lists 2 objects of 5.*search again"):
            pacs.fetch(row)

    def test_a_full_disk(self, stub, pacs, files, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        row = pacs.search().iloc[0]
        with monkeypatch.context() as patch:
            patch.setattr(connection, "object_in", full)
            with pytest.raises(OSError, match=r"could not be written: No space left on device: .*\.dcm"):
                pacs.fetch(row)
        assert left_in(tmp_path / "cache") == []

    def test_what_the_archive_lost_meanwhile(self, stub, pacs, files):
        row = pacs.search().iloc[0]
        stub.objects.clear()
        with pytest.raises(ArchiveError, match=r"series 1\.2\.3\.4 has no such objects \(any more\)"):
            pacs.fetch(row)


class TestStore:
    def test_a_reply_that_is_lost_stores_nothing_twice(self, stub, pacs, tmp_path):
        files = write(make_series(), tmp_path / "scan")
        stub.touched, stub.faults = "store", ["reply lost"]
        assert pacs.store(tmp_path / "scan")["result"].tolist() == ["stored"] * len(files)
        assert {count for (kind, _), count in stub.asked.items() if kind == "store"} == {1}
        assert len(stub.objects) == len(files)

    def test_a_list_that_ends_early_stores_nothing_twice(self, stub, pacs, tmp_path):
        files = write(make_series(), tmp_path / "scan")
        stub.quirks |= {"ignores offset", "pages of two"}
        pacs.store(files[:4])
        assert sorted(pacs.store(files)["result"]) == ["stored"] + ["was there"] * 4
        assert sorted(stub.stored.values()) == [1] * 5

    @pytest.mark.parametrize("fault", ["503", "reset", "silence"])
    def test_a_server_that_goes(self, stub, pacs, tmp_path, fault):
        files = write(make_series(), tmp_path / "scan")
        pacs.store(files[:2])
        stub.touched, stub.always = "store", fault
        be_impatient(pacs, fault)
        with pytest.raises(NotStored, match=r"3 of 5 objects are not stored\. Store all of them again") as caught:
            pacs.store(tmp_path / "scan")
        results = caught.value.table["result"].tolist()
        assert sorted(results)[-2:] == ["was there"] * 2
        assert sum("not sent: the archive did not answer before" in result for result in results) == 2
        assert not [secret for secret in (TOKEN, *SECRETS) if secret in told(caught)]
        stub.always, stub.faults = "", []
        assert len(pacs.store(tmp_path / "scan")) == 5
        assert len(stub.objects) == 5

    def test_what_is_refused_is_named_and_the_rest_is_stored(self, stub, pacs, tmp_path):
        files = write(make_series(), tmp_path / "scan")
        uids = [stub.add(Path(file).read_bytes()) for file in files]
        stub.objects.clear()
        stub.refused = {uids[1]: 0xA700, uids[2]: 0x0111}
        with pytest.raises(NotStored, match=r"1 of 5 .*\n  .*: refused: out of resources \(reason A700H\)") as caught:
            pacs.store(files)
        table = caught.value.table
        assert table["result"].tolist()[2:] == ["was there", "stored", "stored"]
        assert table["file"].tolist() == [str(file) for file in files]

    def test_files_that_no_archive_takes(self, stub, pacs, tmp_path):
        files = write(make_series(), tmp_path / "scan")
        content = Path(files[1]).read_bytes()
        for damaged, text in (
            (content[:-9], r"PixelData claims 84 bytes of pixels"),
            (content[132:], r"no DICOM file with a preamble \(PS3.10\)"),
            (b"text", r"no DICOM file with a preamble"),
        ):
            Path(files[1]).write_bytes(damaged)
            with pytest.raises(ValueError, match=text):
                pacs.store(files)
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            pacs.store(tmp_path / "other")
        with pytest.raises(TypeError, match="store takes a folder, a file or a list of files, got int"):
            pacs.store(3)
        with pytest.raises(TypeError, match=r"report must be what mask\.report\(like=scan\) gives, got str"):
            pacs.store([], report="3 ml")
        with pytest.raises(NoImages, match="an empty list: holds no DICOM file"):
            pacs.store([])
        assert not stub.objects

    def test_other_files_of_a_folder_are_left_out(self, stub, pacs, tmp_path):
        write(make_series(), tmp_path / "disk" / "IMAGES")
        shutil.copy(get_testdata_file("DICOMDIR"), tmp_path / "disk")
        (tmp_path / "disk" / "README.TXT").write_text("a disk of a hospital")
        unfinished = tmp_path / "disk" / f"{UNFINISHED_PREFIX}x"
        unfinished.mkdir()
        shutil.copy(next((tmp_path / "disk" / "IMAGES").iterdir()), unfinished / "half.dcm")
        assert {Path(file).parent.name for file in pacs.store(tmp_path / "disk")["file"]} == {"IMAGES"}


FAULTS = ("", "503", "401", "cut", "cut within", "reset", "page", "junk", "short", "other", "two", "reply lost")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(touched=st.sampled_from(["store", "search", "object"]), faults=st.lists(st.sampled_from(FAULTS), max_size=9))
def test_whatever_goes_wrong_the_same_call_makes_it_good(tmp_path_factory, monkeypatch, touched, faults):
    """After any faults: named errors, each object stored once, and the voxels that were stored."""
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0)
    folder = tmp_path_factory.mktemp("faults")
    files = write(make_series(), folder / "scan")
    stub = Stub()
    try:
        pacs = DicomWeb(stub.url, TOKEN, cache=folder / "cache", attempts=2)
        stub.touched, stub.faults = touched, [fault for fault in faults if touched == "store" or fault != "reply lost"]
        calls = [lambda: pacs.store(files), lambda: TensorDicom3D.create(pacs.search().iloc[0])]
        for call in calls:
            for _ in range(len(faults) + 1):
                try:
                    result = call()
                    break
                except (ArchiveError, DamagedFile):  # all others are failures of the test
                    continue
        np.testing.assert_array_equal(result, TensorDicom3D.create(folder / "scan"))
        assert sorted(stub.stored.values()) == [1] * len(files)
        assert len(left_in(folder / "cache")) == len(files)
    finally:
        stub.close()


class TestServersThatDiffer:
    @pytest.mark.parametrize(
        "quirk",
        ["ignores filters", "ignores offset", "pages of two", "sends bare objects", "says nothing for nothing",
         "has no page for nothing",
         "says nothing of what it stores"],
    )  # fmt: skip
    def test_each_is_understood(self, stub, pacs, tmp_path, quirk):
        stub.quirks.add(quirk)
        for number, description in enumerate(("T2 tse", "T1", "ADC", "DWI")):
            series = make_series(SeriesDescription=description, SeriesInstanceUID=f"1.2.{number}", edit=lambda k, d: d)
            for image in series:
                image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{image.SOPInstanceUID}.{number}"
            write(series, tmp_path / str(number))
            pacs.store(tmp_path / str(number))
        assert pacs.search()["slices"].tolist() == [5] * 4
        [row] = [row for _, row in pacs.search(modality="CT", description="T2 *").iterrows()]
        np.testing.assert_array_equal(TensorDicom3D.create(row), TensorDicom3D.create(tmp_path / "0"))
        assert set(pacs.store(tmp_path / "0")["result"]) == {"was there"}


class TestSecrets:
    @pytest.fixture
    def log(self):
        """All that any library logs."""
        stream, root = io.StringIO(), logging.getLogger()
        handler, level = logging.StreamHandler(stream), root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        yield stream
        root.removeHandler(handler)
        root.setLevel(level)

    def test_are_sent_and_never_told(self, stub, pacs, files, log, capsys):
        pacs.fetch(pacs.search())
        assert stub.tokens[0] == f"Bearer {TOKEN}"
        assert "GET /dicom-web/" in log.getvalue()
        said = repr(pacs) + str(vars(pacs)) + log.getvalue() + "".join(capsys.readouterr()) + pacs.search().to_string()
        assert not [secret for secret in (TOKEN, *SECRETS) if secret in said]

    def test_no_one_elses_password_is_sent(self, stub, tmp_path, monkeypatch):
        (tmp_path / ".netrc").write_text("machine localhost login someone password another-word\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        DicomWeb(stub.url).search()
        assert stub.tokens == [None]

    def test_are_not_pickled(self, pacs, files):
        with pytest.raises(TypeError, match=r"may hold a password, so it is not pickled"):
            pickle.dumps(pacs.search())
        assert len(pickle.dumps(pacs.fetch(pacs.search())))

    @pytest.mark.parametrize("auth", ["Bearer a-word", "wörd", "a-word\n", ""])
    def test_are_checked_without_being_told(self, auth):
        with pytest.raises(ValueError, match=r"auth is no token.*, without 'Bearer'") as caught:
            DicomWeb("http://localhost/x", auth)
        assert "word" not in told(caught).split("ValueError:")[1]
        with pytest.raises(TypeError, match=r"auth must be \(user, password\), a token or .* got list"):
            DicomWeb("http://localhost/x", ["user", "word"])

    def test_go_to_no_proxy_on_this_machine(self, stub, pacs, files, monkeypatch):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert len(pacs.search()) == 1

    @pytest.mark.parametrize("url", ["http://user:word@localhost/x", "https://pacs/x?token=word"])
    def test_have_no_place_in_an_address(self, url):
        with pytest.raises(ValueError, match="url must have no user, password or query") as caught:
            DicomWeb(url)
        assert "word@" not in str(caught.value)

    def test_do_not_travel_unencrypted_without_a_word(self):
        with pytest.warns(UserWarning, match="travel unencrypted by http"):
            DicomWeb("http://pacs.hospital.org/dicom-web", "token")


class TestCertificates:
    """Of a server that one has signed itself, as in a hospital."""

    @pytest.fixture
    def certificate(self, tmp_path):
        if not shutil.which("openssl"):
            pytest.skip("openssl is not installed, which makes the certificate")
        path = tmp_path / "server.pem"
        command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {path} -out {path}.crt"
        subprocess.run(
            [*command.split(), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True,
        )  # fmt: skip
        path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
        return path

    def test_are_checked(self, certificate, tmp_path, monkeypatch):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        server = Stub(certificate)
        try:
            with pytest.raises(ArchiveError, match=r"certificate of the server is not trusted.* as certificates="):
                DicomWeb(server.url, TOKEN).search()
            assert not server.tokens
            assert len(DicomWeb(server.url, TOKEN, certificates=certificate).search()) == 0
            elsewhere = server.url.replace("localhost", "127.0.0.1")  # the certificate is of another name
            with pytest.raises(ArchiveError, match="certificate of the server is not trusted"):
                DicomWeb(elsewhere, TOKEN, certificates=certificate).search()
        finally:
            server.close()
        with pytest.raises(FileNotFoundError, match="no such file of certificates"):
            DicomWeb(server.url, certificates=tmp_path / "none.pem")
