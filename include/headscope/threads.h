#pragma once

#include <cstdint>
#include <functional>

namespace headscope {

/// Number of threads that parallel_for uses: OMP_NUM_THREADS, else the cores of this machine.
int threads();

/// Sets the number of threads for calls that this thread makes from now on. Errors: kUsage for n < 1.
void set_threads(int n);

/// Calls body(0), ..., body(n - 1), each once, on up to threads() threads, in any order.
/// Nested calls run serially. Results must not depend on which thread runs an index: every caller
/// partitions its work by shapes alone, which is what makes headscope's results independent of the
/// number of threads. The first exception thrown by a body reaches the caller after all have ended.
/// Calls from several threads at once do not wait for each other: the first has the helping threads,
/// the others run alone.
/// Cost    about a microsecond a call beyond the bodies; n == 1 and one thread cost nothing. Helping
///         threads stay awake for about 100 microseconds after a call, then they sleep.
void parallel_for(std::int64_t n, const std::function<void(std::int64_t)>& body);

}  // namespace headscope
