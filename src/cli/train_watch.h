#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/words.h"
#include "train/loop.h"

/// What `train` and `sweep` say while a run goes on.
namespace headscope::cli {

/// Where texts are kept as ids: headscope/texts in XDG_CACHE_HOME or ~/.cache.
std::filesystem::path text_cache();

/// One line that changes on a terminal, one line a minute elsewhere (a log).
class TrainWatch {
 public:
  TrainWatch(Lang lang, const std::string& name) : lang_(lang), progress_(lang, name) {}

  /// `also`: what stands behind the line.
  void show(const train::RunReport& r, const std::string& also);
  /// Ends the line by `how`, which says how to go on; after an interruption the program ends here, too.
  void stopped(std::int64_t step, std::int64_t steps, Word how = Word::kTrainStopped);

 private:
  [[nodiscard]] std::string line(const train::RunReport& r) const;

  Lang lang_;
  Progress progress_;
  std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now();
  std::optional<Writing> writing_;
};

}  // namespace headscope::cli
