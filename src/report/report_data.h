#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/model.h"

/// What the one-file page is made of, as plain values: report_html fills it from a Model, tests by
/// hand.
namespace headscope::report {

/// One layer whose five steps the page walks through.
struct Walk {
  int layer = 0;
  const AttentionTrace* trace = nullptr;
  const Tensor* output_weight = nullptr;  ///< [C,H*Dv] f32
  const Tensor* output_bias = nullptr;    ///< [C] f32
  double error = 0.0;                     ///< Contributions::error
};

/// Everything on the page. Borrowed pieces must outlive the call.
struct Page {
  std::string model;
  std::string family;
  int layers = 0;
  int heads = 0;
  std::int64_t width = 0;
  std::int64_t parameters = 0;
  std::vector<Role> roles;
  std::vector<std::array<std::string, 2>> remarks;  ///< one a role, or none at all
  const Sighting* sighting = nullptr;
  std::vector<Walk> walks;
  int layer = 0;
  int head = 0;
  std::int64_t row = -1;
  std::string view = "head";
  std::string language = "en";
};

/// When q and k take more than this many bytes as f32, they are stored as bf16 and the page says
/// so.
inline constexpr std::size_t kExactBytes = std::size_t{24} << 20;
/// Past this many bytes there is no page.
inline constexpr std::size_t kMostBytes = std::size_t{64} << 20;

/// The page as text. Errors: kUsage, kRange, kShape, kResources as report_html.
std::string page_html(const Page& page);

/// A tensor as the page stores it: a name, a dtype, a shape and base64 of its little-endian bytes.
struct Stored {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;
};

/// The numbers of a page, and what has to be said about them.
struct Numbers {
  std::vector<Stored> tensors;
  bool rounded = false;  ///< q and k are bf16: the page says so, with what it does to row sums
};

/// Batch element 0 of everything recorded. Errors: kUsage (q and k not kept), kResources.
Numbers collect(const Page& page);

/// Names, options and roles as JSON that may stand inside a script element.
std::string describe(const Page& page, const Numbers& numbers);

/// Position of row 0 among the keys when the caller left it open.
std::int64_t query_offset(const FocusOptions& options, std::int64_t rows, std::int64_t keys);

/// RFC 4648, with padding.
std::string base64(const std::vector<std::byte>& bytes);

/// Text that may stand between tags and inside quoted attributes.
std::string escape_html(std::string_view text);

/// Modules joined to one script: imports among them dropped, exports made plain declarations.
/// Top-level names must differ between modules.
std::string join_modules(const std::vector<std::string_view>& modules);

}  // namespace headscope::report
