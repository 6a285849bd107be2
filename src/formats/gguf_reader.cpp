#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "formats/gguf_format.h"

namespace headscope::gguf {

namespace {

struct Row {
  std::uint32_t number;
  DType dtype;
};
constexpr Row kTypes[] = {
    {0, DType::kF32},      {1, DType::kF16},     {2, DType::kQ4_0},     {3, DType::kQ4_1},
    {6, DType::kQ5_0},     {7, DType::kQ5_1},    {8, DType::kQ8_0},     {10, DType::kQ2_K},
    {11, DType::kQ3_K},    {12, DType::kQ4_K},   {13, DType::kQ5_K},    {14, DType::kQ6_K},
    {16, DType::kIQ2_XXS}, {17, DType::kIQ2_XS}, {18, DType::kIQ3_XXS}, {19, DType::kIQ1_S},
    {20, DType::kIQ4_NL},  {21, DType::kIQ3_S},  {22, DType::kIQ2_S},   {23, DType::kIQ4_XS},
    {24, DType::kI8},      {25, DType::kI16},    {26, DType::kI32},     {27, DType::kI64},
    {28, DType::kF64},     {29, DType::kIQ1_M},  {30, DType::kBF16},    {34, DType::kTQ1_0},
    {35, DType::kTQ2_0},   {39, DType::kMXFP4},  {40, DType::kNVFP4},
};
/// Q4_2, Q4_3, Q8_1, Q8_K, Q4_0_N_M, IQ4_NL_N_M, Q1_0: withdrawn, for computation only, or unknown
/// here.
constexpr std::uint32_t kForeign[] = {4, 5, 9, 15, 31, 32, 33, 36, 37, 38, 41};

[[noreturn]] void fail(std::string_view where, const std::string& complaint) {
  throw Error(ErrorCode::kFormat, fmt::format("[{}] {}", where, complaint));
}

/// Reads from the front of a file; nothing is taken that is not there.
class Cursor {
 public:
  Cursor(std::span<const std::byte> file, std::string_view name) : file_(file), name_(name) {}

  [[nodiscard]] std::size_t position() const { return at_; }
  [[nodiscard]] std::size_t left() const { return file_.size() - at_; }
  [[nodiscard]] std::string_view name() const { return name_; }

  std::span<const std::byte> take(std::uint64_t bytes, std::string_view what) {
    if (bytes > left()) {
      fail(name_,
           fmt::format("expected {} bytes of {} at byte {}, found the end of the file after {}",
                       bytes,
                       what,
                       at_,
                       left()));
    }
    const auto taken = file_.subspan(at_, static_cast<std::size_t>(bytes));
    at_ += taken.size();
    return taken;
  }
  template <typename T>
  T number(std::string_view what) {
    T out{};
    std::memcpy(&out, take(sizeof(T), what).data(), sizeof(T));
    return out;
  }
  std::string_view text(std::string_view what) {
    const auto bytes = take(number<std::uint64_t>(what), what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// A count of things that take at least `least` bytes each. It is compared with the rest of the
  /// file before anything is done with it.
  std::size_t count(std::size_t least, std::size_t most, std::string_view what) {
    const auto n = number<std::uint64_t>(what);
    if (n > left() / least) {
      fail(name_, fmt::format("expected {} {}, found only {} bytes to hold them", n, what, left()));
    }
    if (n > most) {
      throw Error(ErrorCode::kResources,
                  fmt::format("[{}] expected at most {} {}, found {}", name_, most, what, n));
    }
    return static_cast<std::size_t>(n);
  }

 private:
  std::span<const std::byte> file_;
  std::string_view name_;
  std::size_t at_ = 0;
};

/// A name or key: not empty, not endless, without letters that hide in messages or paths.
std::string name_from(Cursor& file, std::string_view what) {
  const std::string_view text = file.text(what);
  const bool odd = std::any_of(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  if (text.empty() || text.size() > kMaxName || odd) {
    fail(
        file.name(),
        fmt::format("expected {} of 1 to {} letters, found {}", what, kMaxName, json::quote(text)));
  }
  return std::string(text);
}

Type type_from(Cursor& file) {
  const auto number = file.number<std::uint32_t>("the type of a value");
  if (number >= static_cast<std::uint32_t>(Type::kCount)) {
    fail(file.name(),
         fmt::format("expected the type of a value to be 0..{}, found {}",
                     static_cast<std::uint32_t>(Type::kCount) - 1,
                     number));
  }
  return static_cast<Type>(number);
}

std::size_t least_bytes(Type type) {
  switch (type) {
    case Type::kU8:
    case Type::kI8:
    case Type::kBool:
      return 1;
    case Type::kU16:
    case Type::kI16:
      return 2;
    case Type::kArray:
      return 12;
    case Type::kText:
    case Type::kU64:
    case Type::kI64:
    case Type::kF64:
      return 8;
    default:
      return 4;
  }
}

/// Reads keys and values; of all arrays together it takes so many elements and no more.
class MetadataReader {
 public:
  explicit MetadataReader(Cursor& file) : file_(file) {}

  json::Value read(std::size_t keys) {
    json::Value out = json::Value::object();
    for (std::size_t i = 0; i < keys; ++i) {
      std::string key = name_from(file_, "a key");
      json::Value value = read_value(type_from(file_), 0);
      if (!out.emplace(key, std::move(value)).second) {
        fail(file_.name(), fmt::format("expected {} once, found it twice", json::quote(key)));
      }
    }
    return out;
  }

 private:
  json::Value read_value(Type type, int depth) {
    switch (type) {
      case Type::kU8:
        return file_.number<std::uint8_t>("a value");
      case Type::kI8:
        return file_.number<std::int8_t>("a value");
      case Type::kU16:
        return file_.number<std::uint16_t>("a value");
      case Type::kI16:
        return file_.number<std::int16_t>("a value");
      case Type::kU32:
        return file_.number<std::uint32_t>("a value");
      case Type::kI32:
        return file_.number<std::int32_t>("a value");
      case Type::kF32:
        return file_.number<float>("a value");
      case Type::kU64:
        return file_.number<std::uint64_t>("a value");
      case Type::kI64:
        return file_.number<std::int64_t>("a value");
      case Type::kF64:
        return file_.number<double>("a value");
      case Type::kBool:
        return read_bool();
      case Type::kText:
        return file_.text("a text");
      default:
        return read_array(depth);
    }
  }

  json::Value read_bool() {
    const auto byte = file_.number<std::uint8_t>("a value");
    if (byte > 1) fail(file_.name(), fmt::format("expected a bool of 0 or 1, found {}", byte));
    return byte == 1;
  }

  json::Value read_array(int depth) {
    const Type type = type_from(file_);
    if (type == Type::kArray && depth + 1 >= kMaxDepth) {
      fail(file_.name(), fmt::format("expected arrays at most {} deep, found more", kMaxDepth));
    }
    const std::size_t n = file_.count(least_bytes(type), kMaxValues, "elements of an array");
    if (type == Type::kU8 || type == Type::kI8) {
      const auto bytes = file_.take(n, "an array");
      const auto* first = reinterpret_cast<const std::uint8_t*>(bytes.data());
      return json::Value::binary({first, first + n});
    }
    values_ += n;
    if (values_ > kMaxValues) {
      throw Error(ErrorCode::kResources,
                  fmt::format("[{}] expected at most {} elements in all arrays, found more",
                              file_.name(),
                              kMaxValues));
    }
    json::Value out = json::Value::array();
    out.get_ref<json::Value::array_t&>().reserve(n);
    for (std::size_t i = 0; i < n; ++i) out.push_back(read_value(type, depth + 1));
    return out;
  }

  Cursor& file_;
  std::size_t values_ = 0;
};

Shape shape_from(Cursor& file, const std::string& where) {
  const auto rank = file.number<std::uint32_t>("the number of axes");
  if (rank > kMaxRank) {
    fail(where, fmt::format("expected at most {} axes, found {}", kMaxRank, rank));
  }
  Shape shape(rank);
  std::int64_t product = 1;
  for (std::size_t i = rank; i-- > 0;) {  // the file names the innermost axis first
    const auto axis = file.number<std::uint64_t>("an axis");
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (axis == 0 || axis > kMost ||
        __builtin_mul_overflow(product, static_cast<std::int64_t>(axis), &product)) {
      fail(where,
           fmt::format("expected axes whose product memory can hold, found one of {}", axis));
    }
    shape[i] = static_cast<std::int64_t>(axis);
  }
  return shape;
}

Entries read_entries(Cursor& file, std::size_t tensors, std::uint64_t alignment) {
  Entries entries;
  for (std::size_t i = 0; i < tensors; ++i) {
    std::string tensor = name_from(file, "the name of a tensor");
    const std::string where = fmt::format("{}: {}", file.name(), json::quote(tensor));
    Entry entry;
    entry.view.shape = shape_from(file, where);
    entry.view.dtype = dtype_of(file.number<std::uint32_t>("the type of a tensor"), where);
    entry.offset = file.number<std::uint64_t>("an offset");
    const std::int64_t row = entry.view.shape.empty() ? 1 : entry.view.shape.back();
    const Block block = block_of(entry.view.dtype);
    if (row % block.numbers != 0) {
      fail(where,
           fmt::format("expected rows of whole blocks of {} {}, found {}",
                       block.numbers,
                       headscope::name(entry.view.dtype),
                       to_string(entry.view.shape)));
    }
    const std::int64_t numbers = entry.view.size();
    if (__builtin_mul_overflow(
            static_cast<std::uint64_t>(numbers / block.numbers), block.bytes, &entry.bytes)) {
      fail(where, "expected a size that memory can hold, found " + to_string(entry.view.shape));
    }
    if (entry.offset % alignment != 0) {
      fail(where,
           fmt::format("expected an offset aligned to {}, found {}", alignment, entry.offset));
    }
    if (!entries.emplace(std::move(tensor), std::move(entry)).second) {
      fail(where, "expected the name once, found it twice");
    }
  }
  return entries;
}

/// Every tensor lies inside the data and none shares a byte with another.
void check_places(const Entries& entries, std::uint64_t data_bytes, std::string_view name) {
  std::vector<const Entries::value_type*> order;
  order.reserve(entries.size());
  for (const auto& item : entries) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->second.offset < b->second.offset;
  });
  std::uint64_t covered = 0;
  const std::string* before = nullptr;
  for (const auto* item : order) {
    const Entry& entry = item->second;
    const auto where = [&] { return fmt::format("{}: {}", name, json::quote(item->first)); };
    if (entry.offset > data_bytes || entry.bytes > data_bytes - entry.offset) {
      fail(where(),
           fmt::format("expected {} {} of {} bytes at byte {} of the data, found {} bytes of data",
                       headscope::name(entry.view.dtype),
                       to_string(entry.view.shape),
                       entry.bytes,
                       entry.offset,
                       data_bytes));
    }
    if (entry.offset < covered) {
      fail(where(), "expected bytes of its own, found it overlapping " + json::quote(*before));
    }
    covered = entry.offset + entry.bytes;
    before = &item->first;
  }
}

void check_start(Cursor& file) {
  const auto magic = file.take(kMagic.size(), "magic");
  if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(file.name(), "expected a file that starts with GGUF (is this a GGUF file?)");
  }
  const auto version = file.number<std::uint32_t>("the version");
  if (version == 2 || version == kVersion) return;
  const bool turned = __builtin_bswap32(version) <= 0xFF && version != 0;
  throw Error(
      ErrorCode::kUnsupported,
      turned
          ? fmt::format("[{}] expected a little-endian GGUF, found a big-endian one", file.name())
          : fmt::format("[{}] expected GGUF version 2 or 3, found {}", file.name(), version));
}

}  // namespace

std::optional<std::uint32_t> number_of(DType dtype) {
  for (const Row& row : kTypes) {
    if (row.dtype == dtype) return row.number;
  }
  return std::nullopt;
}

DType dtype_of(std::uint32_t number, std::string_view where) {
  for (const Row& row : kTypes) {
    if (row.number == number) return row.dtype;
  }
  const bool foreign =
      std::find(std::begin(kForeign), std::end(kForeign), number) != std::end(kForeign);
  throw Error(foreign ? ErrorCode::kUnsupported : ErrorCode::kFormat,
              fmt::format("[{}] expected the number of a type of tensors, found {}{}",
                          where,
                          number,
                          foreign ? ", which headscope has no part for" : ""));
}

std::uint64_t alignment_of(const json::Value& metadata, std::string_view where) {
  const auto alignment =
      json::get_or<std::uint64_t>(metadata, kAlignmentKey, kDefaultAlignment, where);
  if (!std::has_single_bit(alignment) || alignment < kLeastAlignment ||
      alignment > kMostAlignment) {
    fail(where,
         fmt::format("expected {} to be a power of two in {}..{}, found {}",
                     kAlignmentKey,
                     kLeastAlignment,
                     kMostAlignment,
                     alignment));
  }
  return alignment;
}

Header read_header(std::span<const std::byte> bytes, std::string_view name) {
  Cursor file(bytes, name);
  check_start(file);
  constexpr std::size_t kLeastTensor = 8 + 1 + 4 + 4 + 8;
  constexpr std::size_t kLeastKey = 8 + 1 + 4 + 1;
  const std::size_t tensors = file.count(kLeastTensor, kMaxTensors, "tensors");
  const std::size_t keys = file.count(kLeastKey, kMaxKeys, "keys");
  Header header;
  header.metadata = MetadataReader(file).read(keys);
  const std::uint64_t alignment = alignment_of(header.metadata, name);
  header.entries = read_entries(file, tensors, alignment);
  header.data = static_cast<std::size_t>(
      std::min<std::uint64_t>(aligned(file.position(), alignment), bytes.size()));
  check_places(header.entries, bytes.size() - header.data, name);
  return header;
}

}  // namespace headscope::gguf
