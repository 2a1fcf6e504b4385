"""A certificate for localhost and 127.0.0.1 until 2126, its key, and keys that do not fit. They protect nothing."""

from __future__ import annotations

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUCWsplL3E99ciEi/sa+QJsXrla8AwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDIwNDYxNFoYDzIxMjYxMTA2
MjA0NjE0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARhRv4UzLPhiXlAwpMUV+4NaDVeeBVIlWN+A/WJztk2Pp9TayDQC59E
4a1iFdr0TUxn3x3CfSwK5jhY2ne7aa/wo28wbTAdBgNVHQ4EFgQUJfPBnrVl9NRS
Zd8J7oZB8OaCdgIwHwYDVR0jBBgwFoAUJfPBnrVl9NRSZd8J7oZB8OaCdgIwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAKXCzlvSH2HO3l/Q99yctquMabqe/wiX79UUsH75qakeAiEA
+gx9dsGqa4wPMqbE2qjmCEwBABYucRydby7YJGwfbmQ=
-----END CERTIFICATE-----
"""

KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgrSlK7mc4mz2S/ZE9
dIilKGqth9QSweU173+SZLKHinuhRANCAARhRv4UzLPhiXlAwpMUV+4NaDVeeBVI
lWN+A/WJztk2Pp9TayDQC59E4a1iFdr0TUxn3x3CfSwK5jhY2ne7aa/w
-----END PRIVATE KEY-----
"""

OTHER_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHKhprxSbuSis0sH2
xXSnM2SO5SgUX2ZrQyg0/UZUiiKhRANCAARtxamup+N2/xeBPNFF+L7GfJUC2kvz
Gacos3eWtMGWBBmT/S4Q5BiKNrJ2QpaFhOiRcyxd28h+8NBp56k6Ec6V
-----END PRIVATE KEY-----
"""

ENCRYPTED_KEY = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg2+zVo4cd98QICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEEsDYM+P6nQsBfYLFSevaSsEgZDN
NDsWfpss9/XeIgSWvv3/byYXAvDIjGdYydBfaj99K6ffIxdc7VnIBO1AXE0HZ/hy
v+ylKEaQjU5F0BeDd+NS2pK+2Oh97il/qw8pal23CNUOXtf8ZG4u9wQQsybvpNnn
+fXIF5N9TVTvqGE+pYUQZjFo1VHu4NqGU1lSM1xpTEMgb5XfiXkSQG4R6Ek2S9I=
-----END ENCRYPTED PRIVATE KEY-----
"""


def write_pair(directory, *, certificate=CERTIFICATE, key=KEY):
    """Write both as files; their paths."""
    paths = directory / "certificate.pem", directory / "key.pem"
    for path, text in zip(paths, (certificate, key), strict=True):
        path.write_text(text)
    return paths
