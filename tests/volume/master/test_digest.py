"""The digest of a server's volumes: the values that existing servers and masters compute."""

from less_sync.volume.engine.reports import VolumeReport
from less_sync.volume.master.digest import Digests, report_hash

EMPTY = VolumeReport(0, 0, "", 0, 0, 0, False, 0, 3, 0, 0, 0, "", 0)
FIRST = EMPTY._replace(id=5, size=8, collection="c", placement=1, ttl=771, modified_s=1795647761)
SECOND = EMPTY._replace(id=6, size=8, modified_s=1795647761, disk_type="ssd", disk_id=1)


def test_a_volume_s_hash_is_that_of_existing_servers() -> None:
    full = EMPTY._replace(
        id=70,
        size=123456,
        collection="cc",
        file_count=7,
        deleted_count=2,
        deleted_bytes=99,
        ttl=769,
        revision=4,
        modified_s=1700000000,
    )
    written = SECOND._replace(size=96, file_count=1, modified_s=1795647766)
    assert report_hash(full) == 0x52BE60EB68DB2275
    assert report_hash(FIRST) == 14258846987361846433
    assert report_hash(SECOND) == 12110204107031510496
    assert report_hash(written) == 16809775231740364698
    assert report_hash(written._replace(read_only=True)) == 8510816859183163287


def test_the_digest_of_all_is_their_exclusive_or_and_0_for_none() -> None:
    digests = Digests()
    assert digests.of([]) == ({}, 0)
    hashes, digest = digests.of([FIRST, SECOND])
    assert digest == 7922271209109911873
    assert hashes == {FIRST: report_hash(FIRST), SECOND: report_hash(SECOND)}
    assert digests.of([SECOND]) == ({SECOND: report_hash(SECOND)}, report_hash(SECOND))


def test_counts_that_exceed_32_bits_hash_as_the_largest_that_does_not() -> None:
    most = EMPTY._replace(file_count=(1 << 32) - 1, deleted_count=(1 << 32) - 1)
    assert report_hash(most._replace(file_count=1 << 40, deleted_count=1 << 33)) == report_hash(most)
