"""Brokers' servers, each with hands that harm it, as the laws need them."""

from outlast.broker.memory import MemoryBroker, Tray


class MemoryHouse:
    within_s = 0.0
    sees_hands = True

    def __init__(self, kind=MemoryBroker):
        self.tray = Tray()
        self._kind = kind

    async def open(self):
        return self._kind(tray=self.tray)

    async def die(self, broker):
        await broker.close()  # a process's memory dies as a whole: there is no other death

    async def plant(self, queue, message):
        self.tray.put(queue, message)
        return True

    async def wipe(self):
        self.tray.wipe()
