from .rain import rain_info
from .snow import snow_info
from .sun import sun_info

apis = [rain_info, snow_info, sun_info]
