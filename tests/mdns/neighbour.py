"""A neighbour that speaks multicast DNS by the library zeroconf.

It browses for nodes, and says what it finds and what goes, a line of JSON each. Lines of its standard
input are services to announce: name, port, address, and the strings of the TXT record.
"""

import json
import sys

from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

SERVICE = "_withy._udp.local."


def say(**what):
    print(json.dumps(what), flush=True)


class Listener(ServiceListener):
    def add_service(self, zc, kind, name):
        info = zc.get_service_info(kind, name, timeout=3000)
        if info is not None:
            say(
                event="found",
                name=name.removesuffix("." + SERVICE),
                host=info.server,
                port=info.port,
                addresses=info.parsed_addresses(),
                txt=list(info.text),
            )

    update_service = add_service

    def remove_service(self, zc, kind, name):
        say(event="gone", name=name.removesuffix("." + SERVICE))


def main(address):
    zc = Zeroconf(interfaces=[address], ip_version=IPVersion.V4Only)
    ServiceBrowser(zc, SERVICE, Listener())
    say(event="ready")
    for line in sys.stdin:
        said = json.loads(line)
        name = said["name"]
        properties = dict(string.split("=", 1) for string in said["txt"])
        info = ServiceInfo(
            SERVICE,
            f"{name}.{SERVICE}",
            port=said["port"],
            properties=properties,
            parsed_addresses=[said["address"]],
            server=f"{name}.local.",
        )
        zc.register_service(info)
    zc.close()


main(sys.argv[1])
