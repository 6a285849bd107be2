#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "headscope/model.h"

namespace headscope {

/// Everything a one-file page shows. Borrowed pieces must outlive the call.
struct Report {
  const Model* model = nullptr;  ///< names, sizes, roles, output weights
  const Sighting* sighting =
      nullptr;                    ///< recorded with keep_qk: the page recomputes any weight exactly
  std::vector<int> trace_layers;  ///< layers whose five steps the page can walk through
  const std::vector<AttentionTrace>* traces = nullptr;
  /// Beside the model's roles, one each: what this input shows of them, in English and Russian; may be empty.
  std::vector<std::array<std::string, 2>> remarks;
  bool roles =
      true;       ///< show the model's roles: not where the input is of another kind than theirs
  int layer = 0;  ///< what is selected when the page opens
  int head = 0;
  std::int64_t row = -1;        ///< the row that asks; none: all
  std::string view = "head";    ///< "head" or "walk"; of pictures, music and tables also "media"
  std::string language = "en";  ///< "en" or "ru"; the reader can switch
};

/// One self-contained HTML file: all scripts, styles and numbers inside, nothing fetched from
/// elsewhere. Errors  kUsage when q and k were not kept, kResources when the numbers would take
/// more than 64 MB
///         (says what to leave out).
std::string report_html(const Report& report);

/// report_html written whole or not at all. Errors: also kIo.
void write_report(const Report& report, const std::filesystem::path& path);

}  // namespace headscope
