#include "cli/train_watch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "cli/screen.h"

namespace headscope::cli {

using train::RunReport;
using Clock = std::chrono::steady_clock;

void TrainWatch::show(const RunReport& r, const std::string& also) {
  // Steps leave files behind: from the first on, Ctrl-C waits for a checkpoint.
  if (r.phase == RunReport::Phase::kSteps && !writing_) writing_.emplace();
  const auto now = Clock::now();
  if (now < next_) return;
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  next_ = now + (terminal ? std::chrono::milliseconds(250) : std::chrono::milliseconds(60'000));
  if (terminal) {
    progress_.now(line(r) + also);
  } else {
    fmt::print(stderr, "{}{}\n", line(r), also);
    std::fflush(stderr);
  }
}

void TrainWatch::stopped(std::int64_t step, std::int64_t steps, Word how) {
  fmt::print(stderr, "\r\x1b[K{}\n", say(lang_, how, step, steps));
  std::fflush(stderr);
  writing_.reset();
}

std::string TrainWatch::line(const RunReport& r) const {
  using Phase = RunReport::Phase;
  switch (r.phase) {
    case Phase::kTokenizer:
      return std::string(text(lang_, Word::kTrainTokenizer));
    case Phase::kTexts:
      return say(lang_, Word::kTrainTexts, clean(r.file), 100.0 * r.part);
    case Phase::kValidation:
      return std::string(text(lang_, Word::kTrainValidation));
    case Phase::kCheckpoint:
      return std::string(text(lang_, Word::kTrainCheckpoint));
    case Phase::kSteps:
      break;
  }
  std::string more = r.valid_loss < 0.0 ? "" : say(lang_, Word::kTrainValid, r.valid_loss);
  if (r.taught > 0.0) more += say(lang_, Word::kTrainTaught, r.taught);
  return say(lang_,
             Word::kTrainStep,
             r.step,
             r.steps,
             r.loss,
             more,
             r.tokens_per_second,
             duration(lang_, r.seconds_left));
}

std::filesystem::path text_cache() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg != '\0') {
    return std::filesystem::path(xdg) / "headscope" / "texts";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return std::filesystem::path(home) / ".cache" / "headscope" / "texts";
  }
  return std::filesystem::temp_directory_path() / "headscope-texts";
}

}  // namespace headscope::cli
