#include "headscope/threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <string>
#include <thread>

#include "headscope/error.h"

#ifdef HEADSCOPE_OPENMP
#include <omp.h>
#endif

namespace headscope {

namespace {

// Set while this thread runs a body, so that nested calls are serial.
thread_local bool inside = false;

// What one call shares with the threads that help it.
struct Job {
  const std::function<void(std::int64_t)>* body = nullptr;
  std::int64_t n = 0;
  std::atomic<std::int64_t> next{0};

  // Keeps the first exception.
  std::mutex mutex;
  std::exception_ptr error;

  void work() {
    inside = true;
    for (std::int64_t i = next++; i < n; i = next++) {
      try {
        (*body)(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!error) error = std::current_exception();
      }
    }
    inside = false;
  }
};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Threads that wait for jobs. A caller starts on its job at once and, when no index is left, waits only
/// for helpers that are in the midst of one: a helper that the system has put aside holds nobody up,
/// where a barrier would wait until it ran again (milliseconds, hundreds of times a token).
class Team {
 public:
  // One for the process. Never destroyed: its threads may outlive main().
  static Team& get() {
    static Team* team = new Team;
    return *team;
  }

  void run(Job& job, int helpers) {
    const std::unique_lock<std::mutex> lock(one_caller_, std::try_to_lock);
    if (!lock.owns_lock()) return job.work();  // The helpers are busy with somebody else's job.
    while (static_cast<int>(helpers_) < helpers) hire();
    job_ = &job;
    wanted_ = helpers;
    state_ += kTicket;  // opens it
    if (sleepers_ > 0) state_.notify_all();
    job.work();
    std::uint64_t now = state_ += kTicket;  // closes it: nobody comes in any more
    for (int spins = 0; (now & kInside) != 0; now = state_) {
      if (++spins < kSpins)
        pause();
      else
        std::this_thread::yield();
    }
  }

 private:
  // Tickets in the upper half: odd while a job is open. Below, how many helpers are inside.
  static constexpr std::uint64_t kTicket = std::uint64_t{1} << 32;
  static constexpr std::uint64_t kInside = kTicket - 1;
  static constexpr int kSpins = 4000;  // about 100 microseconds: what lies between two products

  void hire() {
    const auto number = static_cast<int>(helpers_++);
    std::thread([this, number] { help(number); }).detach();
  }

  void help(int number) {
    std::uint64_t done = 0;  // the ticket whose work this thread has seen the end of
    for (;;) {
      std::uint64_t now = await(done);
      if (!state_.compare_exchange_weak(now, now + 1)) continue;
      done = now / kTicket;
      if (number < wanted_) job_->work();
      --state_;
    }
  }

  // The state once a job is open that is not number `done`.
  std::uint64_t await(std::uint64_t done) {
    for (int spins = 0;; ++spins) {
      const std::uint64_t now = state_;
      const std::uint64_t ticket = now / kTicket;
      if ((ticket & 1) != 0 && ticket != done) return now;
      if (spins < kSpins) {
        pause();
        continue;
      }
      ++sleepers_;
      state_.wait(now);
      --sleepers_;
      spins = 0;
    }
  }

  std::mutex one_caller_;
  alignas(64) std::atomic<std::uint64_t> state_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::size_t helpers_ = 0;  // of one_caller_
  std::atomic<int> wanted_{0};
  Job* job_ = nullptr;  // written while nobody is inside, read by who is
};

#ifndef HEADSCOPE_OPENMP
std::atomic<int> thread_count{0};
#endif

}  // namespace

// OpenMP knows OMP_NUM_THREADS and the cores that this process may use.
int threads() {
#ifdef HEADSCOPE_OPENMP
  return omp_get_max_threads();
#else
  const int n = thread_count.load();
  if (n > 0) return n;
  const unsigned cores = std::thread::hardware_concurrency();
  return cores > 0 ? static_cast<int>(cores) : 1;
#endif
}

void set_threads(int n) {
  if (n < 1)
    throw Error(ErrorCode::kUsage,
                "[threads] expected at least 1 thread, found " + std::to_string(n));
#ifdef HEADSCOPE_OPENMP
  omp_set_num_threads(n);
#else
  thread_count.store(n);
#endif
}

void parallel_for(std::int64_t n, const std::function<void(std::int64_t)>& body) {
  const int most = n <= 1 || inside ? 1 : threads();
  if (most == 1) {
    for (std::int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  Job job;
  job.body = &body;
  job.n = n;
  Team::get().run(job, static_cast<int>(std::min<std::int64_t>(most, n)) - 1);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace headscope
