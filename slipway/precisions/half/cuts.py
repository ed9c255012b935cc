"""Minimum cuts of a flow network, after Dinic (1970); the labelling of graphs is one."""

from collections import deque


class Network:
    """Directed edges with whole capacities between the nodes 0 to count - 1.

    Edges lie in pairs, an edge and its residual twin, so that `edge ^ 1` is the other one.
    """

    def __init__(self, count: int) -> None:
        self._edges: list[list[int]] = [[] for _ in range(count)]
        self._heads: list[int] = []
        self._capacity: list[int] = []

    def add_node(self) -> int:
        """A new node's number."""
        self._edges.append([])
        return len(self._edges) - 1

    def add_edge(self, tail: int, head: int, capacity: int) -> None:
        """Allow `capacity` to flow from tail to head."""
        for source, target, amount in ((tail, head, capacity), (head, tail, 0)):
            self._edges[source].append(len(self._heads))
            self._heads.append(target)
            self._capacity.append(amount)

    def cut(self, source: int, sink: int) -> list[bool]:
        """For each node, whether it is on the sink's side of a minimum cut, the smallest such.

        Saturates the network, so it can be called once.
        """
        while True:
            levels = self._levels(source)
            if levels[sink] < 0:
                return self._reaching(sink)
            self._block(source, sink, levels)

    def _levels(self, source: int) -> list[int]:
        levels = [-1] * len(self._edges)
        levels[source] = 0
        waiting = deque([source])
        while waiting:
            node = waiting.popleft()
            for edge in self._edges[node]:
                head = self._heads[edge]
                if self._capacity[edge] and levels[head] < 0:
                    levels[head] = levels[node] + 1
                    waiting.append(head)
        return levels

    def _block(self, source: int, sink: int, levels: list[int]) -> None:
        """Saturate all shortest paths, each found by walking on from the last one's free part."""
        position = [0] * len(self._edges)
        path: list[int] = []
        node = source
        while True:
            if node == sink:
                amount = min(self._capacity[edge] for edge in path)
                for edge in path:
                    self._capacity[edge] -= amount
                    self._capacity[edge ^ 1] += amount
                first = next(i for i, edge in enumerate(path) if not self._capacity[edge])
                del path[first:]
                node = self._heads[path[-1]] if path else source
            elif position[node] == len(self._edges[node]):
                if node == source:
                    return
                node = self._heads[path.pop() ^ 1]
                position[node] += 1
            else:
                edge = self._edges[node][position[node]]
                head = self._heads[edge]
                if self._capacity[edge] and levels[head] == levels[node] + 1:
                    path.append(edge)
                    node = head
                else:
                    position[node] += 1

    def _reaching(self, sink: int) -> list[bool]:
        reaches = [False] * len(self._edges)
        reaches[sink] = True
        waiting = deque([sink])
        while waiting:
            node = waiting.popleft()
            for edge in self._edges[node]:
                tail = self._heads[edge]
                if self._capacity[edge ^ 1] and not reaches[tail]:
                    reaches[tail] = True
                    waiting.append(tail)
        return reaches
