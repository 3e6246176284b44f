"""Kafka behind TLS: the server that the given authority vouches for, and no other."""

import asyncio
import ipaddress
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from outlast.broker import open_broker
from outlast.broker.protocol import Ticket
from outlast.core.errors import UnavailableError
from outlast.testing.kafka import private_kafka
from outlast.testing.servers import free_port

SOON_S = 8.0


def certificate(folder, name):
    """Write a certificate that vouches for itself, and its key; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@asynccontextmanager
async def behind_tls(paths):
    """Run a Kafka whose only way in is encrypted, by a proxy of the test's own."""
    port = free_port()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*paths)
    lines = set()

    async def pump(reader, writer):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()

    async def carry(reader, writer):
        lines.add(asyncio.current_task())
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.port)
        ways = [
            asyncio.ensure_future(pump(reader, inner_writer)),
            asyncio.ensure_future(pump(inner_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.transport.abort()
            inner_writer.transport.abort()

    with private_kafka(advertised_port=port) as server:
        proxy = await asyncio.start_server(carry, "127.0.0.1", port, ssl=context)
        try:
            yield server.url.replace(str(server.port), str(port))
        finally:
            proxy.close()
            for line in lines:
                line.cancel()
            await asyncio.gather(*lines, return_exceptions=True)


async def test_tickets_travel_encrypted_to_the_server_that_is_vouched_for(kafka, tmp_path):
    paths = certificate(tmp_path, "ours")
    async with behind_tls(paths) as url:
        broker = open_broker(f"{url}&ca={paths[0]}")
        try:
            await broker.publish([Ticket("mail", "1")])
            got = await broker.receive(["mail"], 1, SOON_S)
            await broker.ack(got)
            assert [one.job_id for one in got] == ["1"]
        finally:
            await broker.close()


@pytest.mark.parametrize("how", ["&ca={other}", "&tls=yes", ""])
async def test_any_other_server_is_refused_in_bounded_time(kafka, tmp_path, how):
    ours, other = certificate(tmp_path, "ours"), certificate(tmp_path, "other")
    async with behind_tls(ours) as url:
        broker = open_broker(url + how.format(other=other[0]))
        try:
            async with asyncio.timeout(SOON_S):
                with pytest.raises(UnavailableError, match="check hosts, ports, tls and network"):
                    await broker.publish([Ticket("mail", "1")])
        finally:
            await broker.close()
