from helpers import get

from api2db.ingest import *
from api2db.store import *
from api2db.stream import *


def sun_import():
    return get("sun")


def sun_form():
    pre_process = [ListExtract(lambda x: x["data"])]
    data_features = [Feature("id", lambda x: x["id"], int)]
    post_process = []
    return ApiForm(name="sun", pre_process=pre_process, data_features=data_features, post_process=post_process)


def sun_streams():
    streams = [Stream2Local(name="sun")]
    return streams


def sun_stores():
    stores = []
    return stores


sun_info = Collector(
    name="sun",
    seconds=0.1,
    import_target=sun_import,
    api_form=sun_form,
    streams=sun_streams,
    stores=sun_stores,
    debug=True,
)
