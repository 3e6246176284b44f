import io
from collections import Counter
from fractions import Fraction

import av
import pytest
from transcode import encode_segment, join, probe


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Draw 60 small frames that differ, with a keyframe only at the start."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "250"})
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for number in range(60):
            frame = av.VideoFrame(160, 90, "rgb24")
            frame.planes[0].update(bytes([number * 4]) * frame.planes[0].buffer_size)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def brightness(video):
    with av.open(video if isinstance(video, str) else io.BytesIO(video)) as file:
        return [
            bytes(frame.to_image().convert("L").resize((1, 1)).tobytes())[0]
            for frame in file.decode(video=0)
        ]


def test_a_probe_counts_frames(samples):
    source = probe(samples / "bigbuckbunny.mp4")

    assert (source.frames, source.width, source.height) == (132, 1280, 720)
    assert source.fps == Fraction(25)
    assert source.audio


def test_a_segment_holds_exactly_its_frames(clip):
    told = []

    segment = encode_segment(clip, 90, range(24, 48), told.append)

    expected = [number * 4 for number in range(24, 48)]
    assert told == list(range(1, 25))
    assert brightness(segment) == pytest.approx(expected, abs=6)


def test_joined_segments_play_without_a_gap_or_a_repeat(clip, tmp_path):
    starts = [0, 24, 48]
    parts = [encode_segment(clip, 90, range(s, min(s + 24, 60))) for s in starts]

    join(parts, starts, Fraction(25), None, tmp_path / "joined.mp4")

    with av.open(str(tmp_path / "joined.mp4")) as file:
        stream = file.streams.video[0]
        times = [frame.pts * stream.time_base for frame in file.decode(stream)]
    assert times == [Fraction(number, 25) for number in range(60)]
    shades = brightness(str(tmp_path / "joined.mp4"))
    assert shades == pytest.approx([number * 4 for number in range(60)], abs=6)


async def test_after_a_crash_no_finished_segment_is_encoded_again(t, run, clip):
    with t.crash_at("step:46p-00.mp4"):  # it is encoded, but not recorded
        job = await run("transcode", video=str(clip), heights=[90, 46])

    encoded = Counter(file["name"] for file in job.told("artifact"))
    assert len(job.told("step")) == len(job.steps)
    assert job.result["segments_by_attempt"] == {"1": 3, "2": 3}
    assert encoded["90p-00.mp4"] == 1
    assert encoded["46p-00.mp4"] == 2
    with av.open(io.BytesIO(job.file("video-46p.mp4"))) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (82, 46)
        assert sum(1 for _ in file.decode(video=0)) == 60
