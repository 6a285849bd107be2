#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "cli/words.h"

/// What the program is doing, on standard error, for work that takes more than a second.
namespace headscope::cli {

/// Shows one line with the time that has passed, while it lives; nothing when standard error is
/// not a terminal or the work takes less than a second.
class Progress {
 public:
  Progress(Lang lang, std::string what);
  ~Progress();
  /// Something else is going on from here on; the time goes on as well.
  void now(std::string what);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  void tick();

  Lang lang_;
  std::string what_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace headscope::cli
