from foreframe.base.wording import closest, plural


def test_a_number_and_its_noun_agree() -> None:
    assert [plural(n, "frame") for n in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    assert closest("szie", ("colour", "size", "sizes")) == "did you mean size?"
    assert closest("zzz", iter(("colour", "size"))) == ""
