from vqe_cli.bench.headers import PICTURES, bench_headers


def test_headers_are_read_fast_enough_for_a_long_film():
    result = bench_headers(20 * PICTURES)
    assert result["headers"] == 640
    assert result["unknown"] == 0
    assert result["headers_per_s"] > 100_000 / 30
