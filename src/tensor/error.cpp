#include "headscope/error.h"

namespace headscope {

namespace {
struct Row {
  ErrorCode code;
  std::string_view name;
  int exit_status;
};

// One table: what a code is called and what the command line exits with.
constexpr Row kRows[] = {
    {ErrorCode::kUsage, "usage", 2},
    {ErrorCode::kShape, "shape", 3},
    {ErrorCode::kDType, "dtype", 3},
    {ErrorCode::kRange, "range", 3},
    {ErrorCode::kNotFound, "not_found", 3},
    {ErrorCode::kFormat, "format", 3},
    {ErrorCode::kUnsupported, "unsupported", 3},
    {ErrorCode::kInput, "input", 3},
    {ErrorCode::kIo, "io", 4},
    {ErrorCode::kResources, "resources", 4},
    {ErrorCode::kInternal, "internal", 70},
};

const Row& row_of(ErrorCode code) {
  for (const Row& row : kRows) {
    if (row.code == code) return row;
  }
  return kRows[std::size(kRows) - 1];
}
}  // namespace

std::string_view name(ErrorCode code) { return row_of(code).name; }

int exit_status(ErrorCode code) { return row_of(code).exit_status; }

}  // namespace headscope
