"""Transcode a video into renditions, segment by segment: a crash costs one segment."""

import asyncio
import contextlib
import heapq
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from outlast import Job

if TYPE_CHECKING:
    # A worker that never transcodes should not carry ffmpeg: each function imports it when called.
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame

SEGMENT_FRAMES = 24


@dataclass(frozen=True, slots=True)
class Source:
    """What a video file holds."""

    frames: int
    width: int
    height: int
    rate: str
    audio: bool

    @property
    def fps(self) -> Fraction:
        return Fraction(self.rate)


@dataclass(frozen=True, slots=True)
class Segment:
    """An encoded stretch of frames, and which attempt of the job encoded it."""

    file: str
    frames: int
    size: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Rendition:
    """One finished video."""

    file: str
    width: int
    height: int
    frames: int
    seconds: float
    size: int


@dataclass(frozen=True, slots=True)
class Transcoded:
    """What a transcode made, and how many segments each attempt contributed."""

    renditions: list[Rendition]
    segments: int
    segments_by_attempt: dict[int, int]


async def transcode(
    job: Job, video: Path, heights: tuple[int, ...] = (720, 480, 360)
) -> Transcoded:
    """Encode every segment of every rendition as one step, then join the segments."""
    source = await job.step("probe", probe, video)
    total = source.frames * len(heights)
    if source.audio:
        await job.step("audio", _audio_step, job, video)
    done = 0
    segments: dict[int, list[Segment]] = {}
    for height in heights:
        for number, start in enumerate(range(0, source.frames, SEGMENT_FRAMES)):
            frames = range(start, min(start + SEGMENT_FRAMES, source.frames))
            name = f"{height}p-{number:02}.mp4"
            label = f"{height}p, segment {number + 1}"
            told = partial(_tell, job, done, total, label)
            segment = await job.step(name, _segment_step, job, video, height, frames, name, told)
            segments.setdefault(height, []).append(segment)
            done += segment.frames
            # Segments of an earlier attempt are passed in no time: the bar starts where it was.
            if segment.attempt == job.attempt:
                job.progress(done, total, label)
    renditions = [
        await job.step(f"join {height}p", _join_step, job, height, parts, source)
        for height, parts in segments.items()
    ]
    made = [segment for parts in segments.values() for segment in parts]
    attempts = {segment.attempt for segment in made}
    by_attempt = {n: sum(segment.attempt == n for segment in made) for n in sorted(attempts)}
    return Transcoded(renditions, segments=len(made), segments_by_attempt=by_attempt)


def _tell(job: Job, done: int, total: int, label: str, frame: int) -> None:
    job.progress(done + frame, total, label)


async def _audio_step(job: Job, video: Path) -> int:
    sound = await asyncio.to_thread(encode_audio, video)
    return (await job.save("audio.m4a", sound)).size


async def _segment_step(
    job: Job, video: Path, height: int, frames: range, name: str, told: Callable[[int], None]
) -> Segment:
    data = await asyncio.to_thread(encode_segment, video, height, frames, told)
    # Saved before the step is recorded: a recorded segment always has its file.
    artifact = await job.save(name, data)
    job.log(f"encoded {name}", frames=len(frames), size=artifact.size)
    return Segment(name, frames=len(frames), size=artifact.size, attempt=job.attempt)


async def _join_step(job: Job, height: int, parts: Sequence[Segment], source: Source) -> Rendition:
    videos = [await job.load(part.file) for part in parts]
    sound = await job.load("audio.m4a") if source.audio else None
    starts = [number * SEGMENT_FRAMES for number in range(len(parts))]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"video-{height}p.mp4"
        await asyncio.to_thread(join, videos, starts, source.fps, sound, target)
        artifact = await job.save(target.name, target)
    frames = sum(part.frames for part in parts)
    width = _width(source.width, source.height, height)
    seconds = float(frames / source.fps)
    return Rendition(artifact.name, width, height, frames, seconds, artifact.size)


def _width(width: int, height: int, wanted: int) -> int:
    # H.264 with 4:2:0 colour wants even sides.
    return round(width * wanted / height / 2) * 2


def probe(video: Path) -> Source:
    """Count the frames of a video and read its size and rate."""
    import av  # noqa: PLC0415 - see TYPE_CHECKING above

    with av.open(str(video)) as file:
        stream = file.streams.video[0]
        rate = stream.average_rate
        if rate is None:
            raise ValueError(f"{video.name}: expected a constant frame rate, found none")
        # The header's count is often absent or wrong; demuxing is cheap and always right.
        frames = sum(packet.size > 0 for packet in file.demux(stream))
        return Source(frames, stream.width, stream.height, str(rate), bool(file.streams.audio))


def _decode(file: "InputContainer", frames: range) -> Iterator["VideoFrame"]:
    stream = file.streams.video[0]
    rate, base = stream.average_rate, stream.time_base
    if rate is None or base is None:
        raise ValueError("expected a constant frame rate, found none")
    # Decoding starts at the keyframe before the segment; what comes before the segment is dropped.
    file.seek(int(frames.start / rate / base), stream=stream)
    for frame in file.decode(stream):
        index = round((frame.pts or 0) * base * rate)
        if index >= frames.stop:
            return
        if index >= frames.start:
            yield frame


def encode_segment(
    video: Path, height: int, frames: range, told: Callable[[int], None] | None = None
) -> bytes:
    """Encode some frames as an MP4 of their own; `told` hears of each frame."""
    import av  # noqa: PLC0415 - see TYPE_CHECKING above
    from av.video.frame import PictureType  # noqa: PLC0415

    buffer = io.BytesIO()
    with av.open(str(video)) as source, av.open(buffer, "w", format="mp4") as target:
        given = source.streams.video[0]
        stream = target.add_stream("libx264", rate=given.average_rate)
        stream.width, stream.height = _width(given.width, given.height, height), height
        stream.pix_fmt = "yuv420p"
        # No references across segments, so that any of them can be encoded alone and joined.
        stream.options = {"preset": "slow", "crf": "23", "flags": "+cgop"}
        # One thread a job: the number of jobs at once is the worker's to choose.
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = 1 / Fraction(given.average_rate or 25)
        for number, decoded in enumerate(_decode(source, frames)):
            frame = decoded.reformat(stream.width, stream.height, "yuv420p")
            frame.pts, frame.time_base = number, stream.codec_context.time_base
            frame.pict_type = PictureType.NONE
            target.mux(stream.encode(frame))
            if told is not None:
                told(number + 1)
        target.mux(stream.encode(None))
    return buffer.getvalue()


def encode_audio(video: Path) -> bytes:
    """Encode the sound of a video as stereo AAC."""
    import av  # noqa: PLC0415 - see TYPE_CHECKING above

    buffer = io.BytesIO()
    with av.open(str(video)) as source, av.open(buffer, "w", format="ipod") as target:
        stream = target.add_stream("aac", rate=48_000, layout="stereo")
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48_000)
        for decoded in source.decode(audio=0):
            for frame in resampler.resample(decoded):
                target.mux(stream.encode(frame))
        for frame in resampler.resample(None):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return buffer.getvalue()


def join(
    videos: Sequence[bytes], starts: Sequence[int], fps: Fraction, sound: bytes | None, target: Path
) -> None:
    """Join encoded segments into one MP4 without encoding again; `starts` are frame numbers."""
    import av  # noqa: PLC0415 - see TYPE_CHECKING above

    with contextlib.ExitStack() as opened:
        # The index in front lets a browser start playing before it has the whole file.
        options = {"movflags": "+faststart"}
        file = opened.enter_context(av.open(str(target), "w", options=options))
        parts = [opened.enter_context(av.open(io.BytesIO(video), "r")) for video in videos]
        copy: Stream = file.add_stream_from_template(parts[0].streams.video[0])
        tracks = [_shifted(parts, starts, fps, copy)]
        if sound is not None:
            audio = opened.enter_context(av.open(io.BytesIO(sound), "r"))
            copy = file.add_stream_from_template(audio.streams.audio[0])
            tracks.append(_shifted([audio], [0], fps, copy))
        # In order of time, so that a player finds sound and picture side by side in the file.
        for packet in heapq.merge(*tracks, key=_seconds):
            file.mux(packet)


def _shifted(
    parts: Sequence["InputContainer"], starts: Sequence[int], fps: Fraction, stream: "Stream"
) -> Iterator["Packet[Stream]"]:
    for part, start in zip(parts, starts, strict=True):
        for packet in part.demux(part.streams[0]):
            if packet.dts is None or packet.pts is None:
                continue  # the empty packet that ends a file
            shift = round(start / fps / packet.time_base)
            packet.pts += shift
            packet.dts += shift
            packet.stream = stream
            yield packet


def _seconds(packet: "Packet[Stream]") -> Fraction:
    return (packet.dts or 0) * packet.time_base
