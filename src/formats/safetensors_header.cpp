#include "formats/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "formats/json.h"

namespace headscope::safetensors {

namespace {

struct Spelling {
  std::string_view text;
  DType dtype;
};
constexpr Spelling kSpellings[] = {
    {"F32", DType::kF32},
    {"BF16", DType::kBF16},
    {"F16", DType::kF16},
    {"F64", DType::kF64},
    {"I64", DType::kI64},
    {"I32", DType::kI32},
    {"I16", DType::kI16},
    {"I8", DType::kI8},
    {"U64", DType::kU64},
    {"U32", DType::kU32},
    {"U16", DType::kU16},
    {"U8", DType::kU8},
    {"BOOL", DType::kBool},
    {"F8_E4M3", DType::kF8E4M3},
    {"F8_E5M2", DType::kF8E5M2},
};
/// The format has these, headscope does not.
constexpr std::string_view kForeign[] = {"F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "C64"};

[[noreturn]] void fail(std::string_view where, const std::string& complaint) {
  throw Error(ErrorCode::kFormat, fmt::format("[{}] {}", where, complaint));
}

DType dtype_of(std::string_view text, std::string_view where) {
  for (const Spelling& row : kSpellings) {
    if (row.text == text) return row.dtype;
  }
  const bool foreign =
      std::find(std::begin(kForeign), std::end(kForeign), text) != std::end(kForeign);
  throw Error(
      foreign ? ErrorCode::kUnsupported : ErrorCode::kFormat,
      fmt::format(
          "[{}] expected a dtype such as F32, BF16 or F16, found {}", where, json::quote(text)));
}

/// Bytes of a shape. A product that overflows is refused even where a later axis is zero: strides
/// are products of some of the axes.
std::size_t bytes_of(const Shape& shape, DType dtype, std::string_view where) {
  std::int64_t product = static_cast<std::int64_t>(size_of(dtype));
  bool zero = false;
  for (const std::int64_t axis : shape) {
    zero = zero || axis == 0;
    if (axis < 0 || (axis > 0 && __builtin_mul_overflow(product, axis, &product))) {
      fail(where, "expected a shape of sizes that memory can hold, found " + to_string(shape));
    }
  }
  return zero ? 0 : static_cast<std::size_t>(product);
}

/// Takes the header apart while it is being parsed: only one tensor's JSON stands in memory at a
/// time. Fields of a tensor that the format does not know are passed over, as in the published
/// reader; a key that comes twice is refused, since two readers could see two files.
class HeaderReader {
 public:
  HeaderReader(Header& header, std::string_view name, std::size_t data_bytes)
      : header_(header), file_(name), data_bytes_(data_bytes) {}

  bool operator()(int depth, json::Value::parse_event_t event, json::Value& parsed) {
    using Event = json::Value::parse_event_t;
    switch (event) {
      case Event::key:
        return key(depth, parsed.get_ref<const std::string&>());
      case Event::array_start:
        if (depth == 1) not_an_object("an array");
        [[fallthrough]];
      case Event::object_start:
        if (depth == 2 && in_metadata()) not_a_text("more brackets");
        return depth < 3 ? known_ : item();
      case Event::value:
        if (depth == 1) not_an_object(json::describe(parsed));
        if (depth == 2 && in_metadata()) return take_metadata(parsed);
        return depth < 3 || item();
      case Event::object_end:
        if (depth == 1 && !in_metadata()) take_tensor(parsed);
        return depth != 1;
      case Event::array_end:
        return true;
    }
    return true;
  }

 private:
  [[noreturn]] void not_an_object(const std::string& found) const {
    fail(file_, fmt::format("expected {} to be an object, found {}", json::quote(name_), found));
  }

  [[noreturn]] void not_a_text(const std::string& found) const {
    fail(file_,
         fmt::format("expected {} in {} to be a text, found {}",
                     json::quote(field_),
                     json::quote(name_),
                     found));
  }
  [[noreturn]] void twice(const std::string& text, std::string_view where) const {
    fail(file_, fmt::format("expected {} once{}, found it twice", json::quote(text), where));
  }

  [[noreturn]] void too_many(std::size_t most, std::string_view what) const {
    throw Error(ErrorCode::kResources,
                fmt::format("[{}] expected at most {} {}", file_, most, what));
  }

  [[nodiscard]] bool in_metadata() const { return name_ == kMetadataKey; }

  bool key(int depth, const std::string& text) {
    if (depth == 1) {
      name_ = text;
      fields_.clear();
      known_ = true;
      if (header_.entries.contains(text) || (in_metadata() && has_metadata_)) twice(text, "");
      has_metadata_ = has_metadata_ || in_metadata();
    } else if (depth == 2) {
      field_ = text;
      items_ = 0;
      known_ = in_metadata() || text == "dtype" || text == "shape" || text == "data_offsets";
      if (known_ && !in_metadata() && !fields_.insert(text).second) {
        twice(text, " in " + json::quote(name_));
      }
      if (in_metadata()) return false;  // take_metadata keeps what the parser then need not
    }
    return known_;
  }

  /// Something inside a field of a tensor: an axis, an offset, or what nobody asked for.
  bool item() {
    if (known_ && ++items_ > kMaxRank) {
      fail(file_, fmt::format("expected at most {} axes in {}", kMaxRank, json::quote(name_)));
    }
    return known_;
  }

  /// Texts go where they belong at once, so that none is held twice.
  bool take_metadata(json::Value& value) {
    if (!value.is_string()) not_a_text(json::describe(value));
    if (header_.metadata.size() == kMaxMetadata) too_many(kMaxMetadata, "metadata");
    auto& text = value.get_ref<std::string&>();
    if (!header_.metadata.emplace(field_, std::move(text)).second) {
      twice(field_, " in " + json::quote(name_));
    }
    return false;
  }

  void take_tensor(const json::Value& object) {
    if (header_.entries.size() == kMaxTensors) too_many(kMaxTensors, "tensors");
    const std::string where = fmt::format("{}: {}", file_, json::quote(name_));
    Entry entry;
    entry.dtype = dtype_of(json::require<std::string>(object, "dtype", where), where);
    entry.shape = json::require<Shape>(object, "shape", where);
    const std::size_t needed = bytes_of(entry.shape, entry.dtype, where);
    const auto offsets = json::require<std::vector<std::size_t>>(object, "data_offsets", where);
    if (offsets.size() != 2) {
      fail(where, fmt::format("expected two data_offsets, found {}", offsets.size()));
    }
    entry.begin = offsets[0];
    entry.end = offsets[1];
    if (entry.begin > entry.end || entry.end > data_bytes_) {
      fail(where,
           fmt::format("expected data_offsets within {} bytes of data, found [{},{}]",
                       data_bytes_,
                       entry.begin,
                       entry.end));
    }
    if (entry.end - entry.begin != needed) {
      fail(where,
           fmt::format("expected {} bytes for {} {}, found data_offsets [{},{}]",
                       needed,
                       spelling(entry.dtype),
                       to_string(entry.shape),
                       entry.begin,
                       entry.end));
    }
    header_.entries.emplace(name_, std::move(entry));
  }

  Header& header_;
  std::string_view file_;
  std::size_t data_bytes_;
  std::string name_;   ///< the key at hand: a tensor or __metadata__
  std::string field_;  ///< the key inside it
  std::set<std::string> fields_;
  std::size_t items_ = 0;
  bool known_ = true;
  bool has_metadata_ = false;
};

/// Tensors must tile the data: no hole where something could hide, no byte that two names share.
void check_cover(const Header& header, std::size_t data_bytes, std::string_view name) {
  using Item = std::pair<const std::string, Entry>;
  std::vector<const Item*> order;
  order.reserve(header.entries.size());
  for (const Item& item : header.entries) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  std::size_t covered = 0;
  for (const Item* item : order) {
    if (item->second.begin != covered) {
      fail(name,
           fmt::format("expected {} to begin at byte {} of the data, found {}",
                       json::quote(item->first),
                       covered,
                       item->second.begin));
    }
    covered = item->second.end;
  }
  if (covered != data_bytes) {
    fail(name,
         fmt::format("expected tensors to cover {} bytes of data, found {}", data_bytes, covered));
  }
}

/// Length of the JSON. It is compared with the file before anything is done with it.
std::size_t header_length(std::span<const std::byte> file, std::string_view name) {
  if (file.size() < kLengthBytes) {
    fail(name, fmt::format("expected a safetensors file, found only {} bytes", file.size()));
  }
  std::uint64_t length = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) {
    length = length << 8 | std::to_integer<std::uint64_t>(file[i]);
  }
  if (length > kMaxHeader) {
    fail(name, fmt::format("expected a header of at most {} bytes, found {}", kMaxHeader, length));
  }
  if (length > file.size() - kLengthBytes) {
    fail(name,
         fmt::format("expected a header of {} bytes, found the end of the file after {}",
                     length,
                     file.size() - kLengthBytes));
  }
  return static_cast<std::size_t>(length);
}

}  // namespace

Header read_header(std::span<const std::byte> file, std::string_view name) {
  const std::size_t length = header_length(file, name);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  if (!text.starts_with('{')) {
    fail(name, "expected a header that starts with '{' (is this a safetensors file?)");
  }
  Header header;
  header.data = kLengthBytes + length;
  const std::size_t data_bytes = file.size() - header.data;
  HeaderReader reader(header, name, data_bytes);
  json::parse(
      text, std::string(name) + " header", {.depth = 16, .bytes = kMaxHeader}, std::ref(reader));
  check_cover(header, data_bytes, name);
  return header;
}

std::string_view spelling(DType dtype) {
  for (const Spelling& row : kSpellings) {
    if (row.dtype == dtype) return row.text;
  }
  throw Error(ErrorCode::kDType, "[safetensors] unknown dtype");
}

}  // namespace headscope::safetensors
