#include "kernels/measure.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include "headscope/error.h"
#include "headscope/threads.h"
#include "kernels/isa.h"

namespace headscope::kernels {

namespace {

// parallel_for takes its number of threads from a setting; this one lends it another for a while.
class Threads {
 public:
  explicit Threads(int n) : before_(threads()) { set_threads(n); }
  ~Threads() { set_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

// Rounds that take about this long on one thread.
std::int64_t rounds_for(const Peak& peak, double seconds) {
  for (std::int64_t rounds = 1024;; rounds *= 4) {
    // Twice, because a thread that was put aside for a while looks slow.
    double took = seconds;
    for (int time = 0; time < 2; ++time) {
      const double start = now();
      (void)peak.body(rounds);
      took = std::min(took, now() - start);
    }
    if (took > 0.1 * seconds) {
      return std::max<std::int64_t>(
          1, static_cast<std::int64_t>(static_cast<double>(rounds) * seconds / took));
    }
  }
}

bool may_use(const Peak& peak, const Table& chosen) {
  if (peak.unit != "flop") return false;
  if (peak.name == "fma_f32" || &chosen == tables().back()) return true;
  const bool tiles = chosen.name.find("amx") != std::string_view::npos;
  if (peak.name == "amx_bf16") return tiles;
  return tiles || chosen.name.find("bf16") != std::string_view::npos;
}

}  // namespace

Rate rate_of(const Peak& peak, int n, double seconds) {
  constexpr int kTimes = 5;
  const Threads lent(n);
  const std::int64_t rounds = rounds_for(peak, seconds);
  std::vector<double> done(static_cast<std::size_t>(n));
  Rate best;
  for (int time = 0; time < kTimes; ++time) {
    const double start = now();
    parallel_for(n, [&](std::int64_t i) { done[static_cast<std::size_t>(i)] = peak.body(rounds); });
    const double took = now() - start;
    double work = 0.0;
    for (double part : done) work += part;
    if (work / took > best.per_second) best = {work / took, took};
  }
  return best;
}

Rate peak_flops(DType dtype, double seconds) {
  Rate best;
  for (const Peak& peak : peaks()) {
    if (dtype == DType::kF32 ? peak.name != "fma_f32" : !may_use(peak, table())) continue;
    const Rate rate = rate_of(peak, threads(), seconds);
    if (rate.per_second > best.per_second) best = rate;
  }
  return best;
}

void DramReader::Unmap::operator()(float* p) const { ::munmap(p, bytes); }

DramReader::DramReader(std::size_t bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    throw Error(ErrorCode::kResources,
                fmt::format("[bench] expected {} MiB of memory to read, found none", bytes >> 20));
  }
  numbers_ = {static_cast<float*>(at), Unmap{bytes}};
#ifdef MADV_HUGEPAGE
  ::madvise(at, bytes, MADV_HUGEPAGE);  // advice only: pages of 4 kB work as well
#endif
  count_ = bytes / sizeof(float);
  for (std::size_t i = 0; i < count_; ++i) numbers_.get()[i] = 1.0F;
}

Rate DramReader::read(int n, int times) const {
  const Threads lent(n);
  const std::size_t share = count_ / static_cast<std::size_t>(n) / 16 * 16;
  Rate best;
  std::vector<float> sums(static_cast<std::size_t>(n));
  for (int time = 0; time < times; ++time) {
    const double start = now();
    parallel_for(n, [&](std::int64_t i) {
      const auto part = static_cast<std::size_t>(i);
      sums[part] = read_floats(numbers_.get() + part * share, share);
    });
    const double took = now() - start;
    const double rate = static_cast<double>(share * sizeof(float)) * n / took;
    if (rate > best.per_second) best = {rate, took};
  }
  return best;
}

}  // namespace headscope::kernels
