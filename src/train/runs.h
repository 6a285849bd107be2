#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "train/checkpoint.h"

struct sqlite3;

/// The record of training runs: an SQLite file with the tables `runs`, `points` and `scores`.
namespace headscope::train {

struct RunRecord {
  std::int64_t id = 0;
  std::string name, version, status;  ///< status: running, stopped, done, failed
  std::string recipe;                 ///< its text
  std::string started, ended;         ///< UTC, "2024-05-01 12:00:00"
  std::uint64_t seed = 0;
  std::int64_t threads = 0, parameters = 0, step = 0, steps = 0, tokens = 0;
  double seconds = 0.0;
};

/// What a model that a run made is worth by some other measure.
struct Score {
  std::string name;  ///< "nsubj at_head"
  double value = 0.0, baseline = 0.0;
  std::int64_t n = 0;  ///< that it was counted over
  std::string head;    ///< whose it is: "3.5"; "" : of the whole model
};

/// Others may read the file while a run writes it. Errors of all calls: kIo, naming the file and what SQLite says.
class RunStore {
 public:
  /// Opens a file, made when it is not there unless `read_only`. Errors: also kFormat (not such a file).
  explicit RunStore(const std::filesystem::path& path, bool read_only = false);
  RunStore(const RunStore&) = delete;
  RunStore& operator=(const RunStore&) = delete;
  ~RunStore();

  /// A new run. Returns its number.
  std::int64_t begin(const RunRecord& run);
  /// Goes on with a run. One that this file does not know is begun. Returns its number.
  std::int64_t resume(const RunRecord& run, const RunState& state);
  /// Where a run stands; its points become those of the state, in one transaction.
  void write(std::int64_t run, const std::string& status, const RunState& state);
  void set_status(std::int64_t run, const std::string& status);
  /// In one transaction; scores of equal names are replaced.
  void write_scores(std::int64_t run, const std::vector<Score>& scores);

  [[nodiscard]] std::vector<RunRecord> runs() const;
  /// By their names.
  [[nodiscard]] std::vector<Score> scores(std::int64_t run) const;
  /// Of kind "train" or "valid", by rising steps.
  [[nodiscard]] std::vector<Point> points(std::int64_t run, const char* kind) const;

 private:
  class Statement;
  void write_points(std::int64_t run, const char* kind, const std::vector<Point>& points);
  void execute(const char* sql) const;
  [[noreturn]] void fail() const;

  std::string name_;
  std::unique_ptr<sqlite3, int (*)(sqlite3*)> file_;
};

}  // namespace headscope::train
