"""The way in: credentials and the client. Read anew each time, since a key may be changed while we run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from api2db.credentials import read_service_account
from api2db.errors import ConfigError, FatalError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import bigquery
    from google.cloud.bigquery_storage_v1 import BigQueryWriteClient

SCOPES = ("https://www.googleapis.com/auth/bigquery",)


def credentials_of(auth_path: Path | None) -> Credentials:
    """Of a service account's file; without one, the application-default ones.

    Raises ConfigError naming the file and what is wrong in it, never a value.
    """
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError
    from google.oauth2 import service_account

    if auth_path is None:
        try:
            return google.auth.default(scopes=list(SCOPES))[0]
        except DefaultCredentialsError as error:
            raise ConfigError(
                "no application-default credentials here: give auth_path, a service account's file, or run"
                " gcloud auth application-default login"
            ) from error
    known = read_service_account(auth_path)
    try:
        made = service_account.Credentials.from_service_account_info(known, scopes=list(SCOPES))  # type: ignore[no-untyped-call]
    except ValueError:
        # Not chained: the message may quote the key.
        raise ConfigError(f"{auth_path}: private_key is no key; download the file from Google again") from None
    return made


def client_of(credentials: Credentials, pid: str, location: str, api_endpoint: str | None) -> bigquery.Client:
    """Reaches nothing yet.

    api_endpoint  where BigQuery answers, if not at Google's usual address
    """
    from google.cloud import bigquery

    options: dict[str, Any] = {} if api_endpoint is None else {"client_options": {"api_endpoint": api_endpoint}}
    return bigquery.Client(project=pid, credentials=credentials, location=location, **options)


def writer_of(credentials: Credentials, storage_endpoint: str | None) -> BigQueryWriteClient:
    """Of the Storage Write API. Reaches nothing yet.

    storage_endpoint  where it answers, if not at Google's usual address; with http:// without TLS, and then without
                      credentials: for an emulator
    """
    from google.cloud.bigquery_storage_v1 import BigQueryWriteClient

    if storage_endpoint is None:
        return BigQueryWriteClient(credentials=credentials)  # type: ignore[no-untyped-call]
    host = storage_endpoint.removeprefix("https://")
    if not host.startswith("http://"):
        options = {"api_endpoint": host}
        return BigQueryWriteClient(credentials=credentials, client_options=options)  # type: ignore[no-untyped-call]
    import grpc
    from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

    channel = grpc.insecure_channel(host.removeprefix("http://"))
    transport = BigQueryWriteGrpcTransport(channel=channel)
    return BigQueryWriteClient(transport=transport)  # type: ignore[no-untyped-call]


class Access:
    """One stream's clients, made when first needed. One thread at a time."""

    def __init__(
        self,
        auth_path: Path | None,
        pid: str,
        location: str,
        api_endpoint: str | None = None,
        storage_endpoint: str | None = None,
    ) -> None:
        self._auth_path = auth_path
        self._pid = pid
        self._location = location
        self._api_endpoint = api_endpoint
        self._storage_endpoint = storage_endpoint
        self._client: bigquery.Client | None = None
        self._writer: BigQueryWriteClient | None = None

    @property
    def client(self) -> bigquery.Client:
        """Raises FatalError for credentials that can't be used."""
        if self._client is None:
            self._client = client_of(self._credentials(), self._pid, self._location, self._api_endpoint)
        return self._client

    @property
    def writer(self) -> BigQueryWriteClient:
        """The same."""
        if self._writer is None:
            self._writer = writer_of(self._credentials(), self._storage_endpoint)
        return self._writer

    def forget(self) -> None:
        """Close the connections; the next use reads the credentials anew."""
        client, self._client = self._client, None
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.transport.close()  # type: ignore[no-untyped-call]

    def _credentials(self) -> Credentials:
        try:
            return credentials_of(self._auth_path)
        except ConfigError as error:
            raise FatalError(str(error)) from error
