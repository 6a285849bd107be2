#include "headscope/threads.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "headscope/error.h"

#ifdef HEADSCOPE_OPENMP
#include <omp.h>
#endif

namespace headscope {

namespace {
// Keeps the first exception of a parallel region: OpenMP must not see any.
class FirstError {
 public:
  void keep() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
};
}  // namespace

#ifdef HEADSCOPE_OPENMP

int threads() { return omp_get_max_threads(); }

void set_threads(int n) {
  if (n < 1)
    throw Error(ErrorCode::kUsage,
                "[threads] expected at least 1 thread, found " + std::to_string(n));
  omp_set_num_threads(n);
}

void parallel_for(std::int64_t n, const std::function<void(std::int64_t)>& body) {
  if (n <= 1 || omp_get_max_threads() == 1 || omp_in_parallel() != 0) {
    for (std::int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  FirstError error;
#pragma omp parallel for schedule(dynamic, 1)
  for (std::int64_t i = 0; i < n; ++i) {
    try {
      body(i);
    } catch (...) {
      error.keep();
    }
  }
  error.rethrow();
}

#else  // Plain threads: for ThreadSanitizer, which cannot see inside an OpenMP runtime.

namespace {
std::atomic<int> thread_count{0};
thread_local bool inside = false;
}  // namespace

int threads() {
  const int n = thread_count.load();
  if (n > 0) return n;
  const unsigned cores = std::thread::hardware_concurrency();
  return cores > 0 ? static_cast<int>(cores) : 1;
}

void set_threads(int n) {
  if (n < 1)
    throw Error(ErrorCode::kUsage,
                "[threads] expected at least 1 thread, found " + std::to_string(n));
  thread_count.store(n);
}

void parallel_for(std::int64_t n, const std::function<void(std::int64_t)>& body) {
  if (n <= 1 || threads() == 1 || inside) {
    for (std::int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  FirstError error;
  std::atomic<std::int64_t> next{0};
  std::vector<std::jthread> team;
  for (int t = 0; t < threads(); ++t) {
    team.emplace_back([&] {
      inside = true;
      for (std::int64_t i = next++; i < n; i = next++) {
        try {
          body(i);
        } catch (...) {
          error.keep();
        }
      }
    });
  }
  team.clear();
  error.rethrow();
}

#endif

}  // namespace headscope
