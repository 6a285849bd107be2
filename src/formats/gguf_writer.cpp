#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "formats/files.h"
#include "formats/gguf_format.h"
#include "formats/stream.h"
#include "headscope/gguf.h"

namespace headscope {

namespace gguf {

namespace {

using Tensors = std::vector<std::pair<std::string, TensorSource>>;

[[noreturn]] void fail(const std::string& complaint) {
  throw Error(ErrorCode::kFormat, "[gguf] " + complaint);
}

/// The head of a file in the making.
class Bytes {
 public:
  template <typename T>
  void number(T x) {
    const auto* bytes = reinterpret_cast<const char*>(&x);
    text_.append(bytes, sizeof x);
  }
  void type(Type type) { number(static_cast<std::uint32_t>(type)); }
  void raw(std::string_view text) { text_ += text; }
  void text(std::string_view text) {
    number(std::uint64_t{text.size()});
    text_ += text;
  }
  void pad(std::uint64_t alignment) { text_.resize(aligned(text_.size(), alignment), '\0'); }
  [[nodiscard]] const std::string& str() const { return text_; }

 private:
  std::string text_;
};

template <typename T>
bool fits(const json::Value& value) {
  if (value.is_number_unsigned())
    return value.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<T>::max()};
  const auto x = value.get<std::int64_t>();
  return x >= std::int64_t{std::numeric_limits<T>::min()} &&
         x <= std::int64_t{std::numeric_limits<T>::max()};
}

Type type_of(const json::Value& value, const std::string& key) {
  if (value.is_boolean()) return Type::kBool;
  if (value.is_string()) return Type::kText;
  if (value.is_number_float()) return Type::kF32;
  if (value.is_binary() || value.is_array()) return Type::kArray;
  if (value.is_number_unsigned() || (value.is_number_integer() && value.get<std::int64_t>() >= 0))
    return fits<std::uint32_t>(value) ? Type::kU32 : Type::kU64;
  if (value.is_number_integer()) return fits<std::int32_t>(value) ? Type::kI32 : Type::kI64;
  fail(fmt::format("expected a number, bool, text or array for {}, found {}",
                   json::quote(key),
                   json::describe(value)));
}

/// The one type that all elements of an array have.
Type element_type(const json::Value& array, const std::string& key) {
  Type common = Type::kI32;
  bool first = true;
  for (const json::Value& value : array) {
    Type type = type_of(value, key);
    if (type == Type::kU32 && fits<std::int32_t>(value)) type = Type::kI32;
    const auto integer = [](Type t) {
      return t == Type::kI32 || t == Type::kU32 || t == Type::kI64 || t == Type::kU64;
    };
    if (first || type == common) {
      common = type;
    } else if (integer(type) && integer(common)) {
      common = Type::kI64;
    } else if ((integer(type) || type == Type::kF32) && (integer(common) || common == Type::kF32)) {
      common = Type::kF32;
    } else {
      fail(fmt::format("expected elements of one type in {}, found {}",
                       json::quote(key),
                       json::describe(value)));
    }
    first = false;
  }
  return common;
}

void put(Bytes& out, const json::Value& value, Type type, const std::string& key) {
  switch (type) {
    case Type::kBool:
      return out.number(static_cast<std::uint8_t>(value.get<bool>() ? 1 : 0));
    case Type::kText:
      return out.text(value.get_ref<const std::string&>());
    case Type::kF32:
      return out.number(value.get<float>());
    case Type::kU32:
      return out.number(value.get<std::uint32_t>());
    case Type::kI32:
      return out.number(value.get<std::int32_t>());
    case Type::kU64:
      return out.number(value.get<std::uint64_t>());
    case Type::kI64:
      return out.number(value.get<std::int64_t>());
    default:
      break;
  }
  if (value.is_binary()) {
    const auto& bytes = value.get_binary();
    out.type(Type::kU8);
    out.number(std::uint64_t{bytes.size()});
    out.raw({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    return;
  }
  const Type inner = element_type(value, key);
  if (inner == Type::kArray)
    fail("expected no arrays in arrays, found them in " + json::quote(key));
  out.type(inner);
  out.number(std::uint64_t{value.size()});
  for (const json::Value& element : value) put(out, element, inner, key);
}

void check(const std::string& name, const TensorSource& tensor) {
  if (!number_of(tensor.dtype)) {
    throw Error(ErrorCode::kDType,
                fmt::format("[gguf] expected a dtype that GGUF has for {}, found {}",
                            json::quote(name),
                            headscope::name(tensor.dtype)));
  }
  if (tensor.shape.size() > kMaxRank) {
    throw Error(ErrorCode::kShape,
                fmt::format("[gguf] expected at most {} axes for {}, found {}",
                            kMaxRank,
                            json::quote(name),
                            to_string(tensor.shape)));
  }
  if (!tensor.shape.empty()) (void)bytes_of(tensor.dtype, tensor.shape.back());
  if (name.empty() || name.size() > kMaxName) fail("expected a name, found " + json::quote(name));
}

std::string head_of(const json::Value& metadata, const Tensors& tensors, std::uint64_t alignment) {
  Bytes out;
  out.raw(kMagic);
  out.number(kVersion);
  out.number(std::uint64_t{tensors.size()});
  out.number(std::uint64_t{metadata.size()});
  for (const auto& [key, value] : metadata.items()) {
    const Type type = type_of(value, key);
    out.text(key);
    out.type(type);
    put(out, value, type, key);
  }
  std::uint64_t offset = 0;
  std::set<std::string_view> names;
  for (const auto& [name, tensor] : tensors) {
    check(name, tensor);
    if (!names.insert(name).second) fail(fmt::format("expected {} once", json::quote(name)));
    out.text(name);
    out.number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t i = tensor.shape.size(); i-- > 0;)
      out.number(static_cast<std::uint64_t>(tensor.shape[i]));
    out.number(*number_of(tensor.dtype));
    out.number(offset);
    offset = aligned(offset + bytes_of(tensor.dtype, count(tensor.shape)), alignment);
  }
  out.pad(alignment);
  return out.str();
}

}  // namespace

}  // namespace gguf

void write_gguf(const std::filesystem::path& path,
                const json::Value& metadata,
                const gguf::Tensors& tensors) {
  if (!metadata.is_object() && !metadata.is_null()) {
    throw Error(ErrorCode::kFormat, "[gguf] expected metadata to be an object");
  }
  const std::uint64_t alignment = gguf::alignment_of(metadata, "gguf");
  const std::string head = gguf::head_of(metadata, tensors, alignment);
  files::AtomicFile file(path);
  file.append(head);
  constexpr std::array<std::byte, gguf::kMostAlignment / 16> kZeros{};
  for (const auto& [name, tensor] : tensors) {
    stream(file, tensor);
    const std::uint64_t bytes = bytes_of(tensor.dtype, count(tensor.shape));
    std::uint64_t padding = gguf::aligned(bytes, alignment) - bytes;
    while (padding > 0) {
      const std::uint64_t some = std::min<std::uint64_t>(padding, kZeros.size());
      file.append(std::span(kZeros).first(static_cast<std::size_t>(some)));
      padding -= some;
    }
  }
  file.commit();
}

}  // namespace headscope
