#pragma once

#include <cstddef>

/// Bytes that the program has on the heap, counted at every malloc and free of the whole process
/// (bench/heap.cpp takes their places), so that nothing of a call is missed. Stacks are not counted.
namespace headscope::bench {

std::size_t heap_bytes();
/// The most there ever was since the last restart().
std::size_t heap_peak();
void restart_heap_peak();

}  // namespace headscope::bench
