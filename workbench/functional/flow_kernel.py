"""Maximum flow through a stack of maps, compiled: the one file that needs numba, imported when a flow is asked for.

Nodes are (level, position): level 0 holds the input tokens, level l + 1 what layer l gives. Capacities are whole
numbers, so that sums are exact. Each flow is found by Dinic's method and proved by a cut of the same capacity.

* Sets of positions are bits of 64-bit words, so that a node's open edges to useful nodes are one `and`.
* Most attention stays where it is: what a position passes down its own column, layer after layer, is one move.
* The next pair starts from what the last one left: only the edges that it used are put back.

All of it is in this file because numba keeps what it compiled by the date of the file that it is in: of two files that
call each other, a change in one would leave the other as it was.
"""

from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import int64, njit, uint64
from numba.core import types
from numba.extending import intrinsic

ONE = np.uint64(1)


class Network(NamedTuple):
    """The capacities, what is left of them, and what a search notes. Words hold 64 positions."""

    capacity: np.ndarray
    """(layer, query, key): edge from (layer + 1, query) to (layer, key)."""
    free: np.ndarray
    """The same, what is left. Not kept for the bottom layer and where query is key: see `column`."""
    down: np.ndarray
    """(layer, query, word of keys): edges with something left."""
    up: np.ndarray
    """(layer, key, word of queries): edges that carry something, which could be taken back."""
    column_capacity: np.ndarray
    """(position, layer): edge from a position to itself; in the bottom layer from it to the sink."""
    column: np.ndarray
    """The same, what is left."""
    alive: np.ndarray
    """(level, word): nodes between this source and this sink that can be of use."""
    rounds: np.ndarray
    """(round, level, word): nodes whose shortest way to the sink goes up `round` times; those at a dead end leave."""
    reached: np.ndarray
    """(level, word): all nodes that have a way to the sink."""
    stack: np.ndarray
    """(depth of search, 4): level, position, amount offered, what was left of it."""
    log: np.ndarray
    """Edges changed since the last pair, packed; (layer, query, key) of 24, 20 and 20 bits."""
    count: np.ndarray
    """How many edges were logged; whether `up` holds columns."""


def compiled(function: Any) -> Any:
    """Compile once and keep it on disk, where a place for that can be written to. Does not hold Python's lock."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder to cache in
        return njit(nogil=True)(function)


@intrinsic
@no_type_check  # here and below: numba compiles the function as written, not one that checks its arguments
def lowest(typing_context, word):
    """Number of the lowest bit that is set."""

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@compiled
@no_type_check
def bit(position):
    """The word with the bit of `position` set."""
    return ONE << uint64(position & 63)


@compiled
@no_type_check
def clear(words):
    """No positions at any level."""
    for level in range(words.shape[0]):
        for word in range(words.shape[1]):
            words[level, word] = 0


@compiled
@no_type_check
def network(capacity):
    """A network that carries nothing."""
    depth, n = capacity.shape[:2]
    words = (n + 63) // 64
    rounds = depth * n // 2 + 2  # no way is longer than all nodes in a row
    down = np.zeros((depth, n, words), np.uint64)
    free = np.zeros((depth, n, n), np.int64)
    column, column_capacity = np.zeros((n, depth), np.int64), np.zeros((n, depth), np.int64)
    for layer in range(depth):
        for query in range(n):
            column[query, layer] = column_capacity[query, layer] = capacity[layer, query, query]
            for key in range(n):
                free[layer, query, key] = capacity[layer, query, key]
                if capacity[layer, query, key] > 0:
                    down[layer, query, key >> 6] |= bit(key)
    return Network(
        capacity,
        free,
        down,
        np.zeros((depth, n, words), np.uint64),
        column_capacity,
        column,
        np.zeros((depth + 1, words), np.uint64),
        np.zeros((rounds, depth + 1, words), np.uint64),
        np.zeros((depth + 1, words), np.uint64),
        np.zeros((depth + 2 * rounds + 2, 4), np.int64),
        np.zeros(capacity.size // 4 + 64, np.int64),
        np.zeros(2, np.int64),
    )


@compiled
@no_type_check
def below(net, source, found):
    """(level, word) of the nodes that `source`, at the top, can reach."""
    depth, n, words = net.down.shape
    clear(found)
    found[depth, source >> 6] = bit(source)
    for layer in range(depth - 1, -1, -1):
        for query in range(n):
            if found[layer + 1, query >> 6] & bit(query):
                for word in range(words):
                    found[layer, word] |= net.down[layer, query, word]


@compiled
@no_type_check
def aim(net, sink, found):
    """Make `sink` the end of all bottom edges; (level, word) of the nodes that can reach it."""
    depth, n, words = net.down.shape
    clear(found)
    found[0, sink >> 6] = bit(sink)
    for layer in range(depth):
        for query in range(n):
            for word in range(words):
                if net.down[layer, query, word] & found[layer, word]:
                    found[layer + 1, query >> 6] |= bit(query)
    for query in range(n):
        net.column[query, 0] = net.column_capacity[query, 0] = net.capacity[0, query, sink]


@compiled
@no_type_check
def order(net, source):
    """Sort the nodes into rounds by their way to the sink; the source's round, or -1 when it has no way left."""
    depth, n, words = net.down.shape
    column_bits(net, int64(1))
    clear(net.reached)
    number = int64(0)
    while True:
        some = False
        here, before = net.rounds[number], net.rounds[number - 1]
        for word in range(words):
            here[0, word] = net.alive[0, word] if number == 0 else uint64(0)
        for level in range(1, depth + 1):
            for word in range(words):
                unseen = net.alive[level, word] & ~net.reached[level, word]
                new = uint64(0)
                while unseen:
                    position = word * 64 + lowest(unseen)
                    unseen &= unseen - ONE
                    way = uint64(0)
                    if level > 1:
                        for w in range(words):
                            way |= net.down[level - 1, position, w] & here[level - 1, w]
                    elif number == 0:
                        way = uint64(net.column[position, 0] > 0)
                    if number > 0 and level < depth:
                        for w in range(words):
                            way |= net.up[level, position, w] & before[level + 1, w]
                    if way:
                        new |= bit(position)
                here[level, word] = new
                net.reached[level, word] |= new
                if new:
                    some = True
        if here[depth, source >> 6]:
            return number
        if not some and number > 0:
            return int64(-1)
        number += 1


@compiled
@no_type_check
def column_bits(net, carrying):
    """Note in `up` which columns carry something, or (not carrying) that none does."""
    net.count[1] = carrying
    for layer in range(1, net.alive.shape[0] - 1):
        for word in range(net.alive.shape[1]):
            todo = net.alive[layer, word]
            while todo:
                p = word * 64 + lowest(todo)
                todo &= todo - ONE
                if carrying and net.column[p, layer] < net.column_capacity[p, layer]:
                    net.up[layer, p, word] |= bit(p)
                else:
                    net.up[layer, p, word] &= ~bit(p)


@compiled
@no_type_check
def note(net, layer, query, key):
    """Log an edge, so that it is put back."""
    if net.count[0] < len(net.log):
        net.log[net.count[0]] = (layer << 40) | (query << 20) | key
    net.count[0] += 1


@compiled
@no_type_check
def use_column(net, position, bottom, top, amount):
    """Pass `amount` down a column, from level `top` to level `bottom`."""
    for layer in range(bottom, top):
        net.column[position, layer] -= amount
        if net.column[position, layer] == 0 and layer > 0:
            net.down[layer, position, position >> 6] &= ~bit(position)
            note(net, layer, position, position)


@compiled
@no_type_check
def use_edge(net, layer, query, key, amount):
    """Pass `amount` down an edge between two columns."""
    net.free[layer, query, key] -= amount
    if net.free[layer, query, key] == 0:
        net.down[layer, query, key >> 6] &= ~bit(key)
    if not net.up[layer, key, query >> 6] & bit(query):
        net.up[layer, key, query >> 6] |= bit(query)
        note(net, layer, query, key)


@compiled
@no_type_check
def carried(net, layer, query, key):
    """What an edge carries."""
    if query == key:
        return net.column_capacity[key, layer] - net.column[key, layer]
    return net.capacity[layer, query, key] - net.free[layer, query, key]


@compiled
@no_type_check
def take_back(net, layer, query, key, amount):
    """Undo `amount` of what an edge carries."""
    if query == key:
        net.column[key, layer] += amount
    else:
        net.free[layer, query, key] += amount
    net.down[layer, query, key >> 6] |= bit(key)
    if carried(net, layer, query, key) == 0:
        net.up[layer, key, query >> 6] &= ~bit(query)


@compiled
@no_type_check
def push(net, source, number, limit):
    """Send up to `limit` from the source, by shortest ways only, until none is left; how much arrived.

    Depth first: down the own column as far as it goes, then to the lowest other position, then back up. A node that
    cannot pass on all that it is offered is at a dead end, and is not asked again.
    """
    words = net.down.shape[2]
    stack, rounds = net.stack, net.rounds
    top, level, position, left = 0, net.alive.shape[0] - 1, source, limit
    stack[0, 0], stack[0, 1], stack[0, 2] = level, position, left
    while True:
        if left > 0:
            own, bottom, room = bit(position), level, left
            while bottom > 0 and net.column[position, bottom - 1] > 0:
                if bottom == 1 and number > 0 or bottom > 1 and not rounds[number, bottom - 1, position >> 6] & own:
                    break
                bottom -= 1
                room = min(room, net.column[position, bottom])
            if bottom == 0:
                use_column(net, position, 0, level, room)
                left -= room
                continue
            next_level, next_position = bottom, position
            if bottom == level:
                next_level, next_position = level - 1, -1
                if level > 1:
                    for word in range(words):
                        open_ways = net.down[level - 1, position, word] & rounds[number, level - 1, word]
                        if open_ways:
                            next_position = word * 64 + lowest(open_ways)
                            room = min(left, net.free[level - 1, position, next_position])
                            break
                if next_position < 0 and number > 0 and level < net.alive.shape[0] - 1:
                    for word in range(words):
                        open_ways = net.up[level, position, word] & rounds[number - 1, level + 1, word]
                        if open_ways:
                            next_level, next_position = level + 1, word * 64 + lowest(open_ways)
                            room = min(left, carried(net, level, next_position, position))
                            break
            if next_position >= 0:
                if next_level > level:
                    number -= 1
                stack[top, 3] = left
                top += 1
                level, position, left = next_level, next_position, room
                stack[top, 0], stack[top, 1], stack[top, 2] = level, position, left
                continue
            rounds[number, level, position >> 6] &= ~own
        sent = stack[top, 2] - left
        if top == 0:
            return sent
        top -= 1
        from_level, from_position = level, position
        level, position, left = stack[top, 0], stack[top, 1], stack[top, 3] - sent
        if from_level > level:
            number += 1
        if sent == 0:
            continue
        if from_level > level:
            take_back(net, level, from_position, position, sent)
        elif from_position == position:
            use_column(net, position, from_level, level, sent)
        else:
            use_edge(net, from_level, position, from_position, sent)


@compiled
@no_type_check
def cut(net, inside):
    """Capacity of the edges from useful nodes that are not `inside` to those that are."""
    total = int64(0)
    for layer in range(net.down.shape[0]):
        for above in range(net.down.shape[1]):
            if (net.alive[layer + 1, above >> 6] & ~inside[layer + 1, above >> 6]) & bit(above):
                if layer == 0:
                    total += net.column_capacity[above, 0]
                    continue
                for word in range(net.down.shape[2]):
                    there = net.alive[layer, word] & inside[layer, word]
                    while there:
                        total += net.capacity[layer, above, word * 64 + lowest(there)]
                        there &= there - ONE
    return total


@compiled
@no_type_check
def fill(net, source, from_source, to_sink):
    """Fill an empty network; the flow's value, or -1 if it stalls or no cut proves it (which cannot happen)."""
    depth, n, words = net.down.shape
    for level in range(depth + 1):
        for word in range(words):
            net.alive[level, word] = net.rounds[0, level, word] = from_source[level, word] & to_sink[level, word]
    out_of_source, into_sink = int64(0), int64(0)
    for p in range(n):
        if net.alive[depth - 1, p >> 6] & bit(p):
            out_of_source += net.capacity[depth - 1, source, p]
        if net.alive[1, p >> 6] & bit(p):
            into_sink += net.column_capacity[p, 0]
    bound = min(out_of_source, into_sink)
    value, number = int64(0), int64(0)
    while value < bound:
        sent = push(net, source, number, bound - value)
        if sent == 0:
            return int64(-1)
        value += sent
        if value < bound:
            number = order(net, source)
            if number < 0:
                return value if cut(net, net.reached) == value else -1
    return value


@compiled
@no_type_check
def empty(net):
    """Put back all that was changed since the network was empty."""
    depth, n, words = net.down.shape
    if net.count[1]:
        column_bits(net, int64(0))
    if net.count[0] <= len(net.log):
        for i in range(net.count[0]):
            put_back(net, net.log[i] >> 40, (net.log[i] >> 20) & 0xFFFFF, net.log[i] & 0xFFFFF)
    else:
        for layer in range(depth):
            for query in range(n):
                for key in range(n):
                    if net.capacity[layer, query, key] > 0:
                        put_back(net, layer, query, key)
    for p in range(n):
        for layer in range(depth):
            net.column[p, layer] = net.column_capacity[p, layer]
    net.count[0] = 0


@compiled
@no_type_check
def put_back(net, layer, query, key):
    """Let an edge carry nothing."""
    net.free[layer, query, key] = net.capacity[layer, query, key]
    net.down[layer, query, key >> 6] |= bit(key)
    net.up[layer, key, query >> 6] &= ~bit(query)


@compiled
@no_type_check
def flow_values(capacity, sources, sinks):
    """(source, sink) values of the maximum flows from the top of (layer, query, key) capacities to the bottom."""
    depth, n = capacity.shape[:2]
    net = network(capacity)
    words = net.down.shape[2]
    from_source = np.zeros((len(sources), depth + 1, words), np.uint64)
    to_sink = np.zeros((depth + 1, words), np.uint64)
    for s in range(len(sources)):
        below(net, sources[s], from_source[s])
    values = np.zeros((len(sources), len(sinks)), np.int64)
    for t in range(len(sinks)):
        aim(net, sinks[t], to_sink)
        for s in range(len(sources)):
            values[s, t] = fill(net, sources[s], from_source[s], to_sink)
            empty(net)
    return values


@compiled
@no_type_check
def one_flow(capacity, source, sink):
    """(value, (layer, query, key) what each edge carries) of one maximum flow."""
    depth, n = capacity.shape[:2]
    net = network(capacity)
    words = net.down.shape[2]
    from_source, to_sink = np.zeros((depth + 1, words), np.uint64), np.zeros((depth + 1, words), np.uint64)
    below(net, source, from_source)
    aim(net, sink, to_sink)
    value = fill(net, source, from_source, to_sink)
    edges = np.zeros((depth, n, n), np.int64)
    for query in range(n):
        edges[0, query, sink] = net.column_capacity[query, 0] - net.column[query, 0]
        for layer in range(1, depth):
            for key in range(n):
                edges[layer, query, key] = carried(net, layer, query, key)
    return value, edges
