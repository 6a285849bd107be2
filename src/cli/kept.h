#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/doctor.h"
#include "doctor/kept.h"
#include "formats/files.h"
#include "formats/json.h"

/// Something long that may be stopped: what is done of it lies in a file (--results), and the same command goes on from
/// there.
namespace headscope::cli {

/// A file with a line of JSON for each part that is done; its first line names the experiment that they are of.
class KeptLines {
 public:
  using Read = std::function<void(const json::Value& line)>;
  /// Makes the file, or takes one that is empty, or lets `read` have the lines that are there; a last one that was cut
  /// short is taken off, to be done again. `verb`: in whose name errors are.
  /// Errors: kIo; kResources (another program has it); kFormat (no results: such a file stays as it is); kUsage (results of another experiment); those of read.
  KeptLines(std::string file, std::string verb, const std::string& experiment, const Read& read);
  /// Errors: kIo.
  void add(const json::Value& line) const;

 private:
  void read_all(std::string_view all, const std::string& experiment, const Read& read) const;
  void cut(std::size_t bytes) const;

  std::string file_, verb_;
  files::Descriptor held_;  // locked as long as this lives
};

/// "headscope 1.0, 269060552 bytes, crc32 1a2b3c4d, 5000 bytes of data, crc32 5e6f7a8b, 5 pieces, 1200 tokens": what
/// figures depend on. `wishes`: what else. Cost, Errors: those of weights_of.
std::string experiment_of(const std::string& model,
                          const Corpus& corpus,
                          std::string_view wishes = {});

/// JSON has no NaN and says null: all that is no number becomes NaN.
double number_of(const json::Value& value);

/// Parts that are rows of numbers.
class KeptParts final : public doctor::Kept {
 public:
  /// Errors: those of KeptLines; kFormat (a line that is no part).
  KeptParts(const std::string& file, std::string verb, const std::string& experiment);
  [[nodiscard]] std::span<const double> find(std::size_t part, std::size_t count) const override;
  /// Errors: kIo.
  void add(std::size_t part, std::span<const double> numbers) override;

 private:
  std::string file_;
  std::map<std::size_t, std::vector<double>> parts_;  // above lines_, which fill it
  KeptLines lines_;
};

}  // namespace headscope::cli
