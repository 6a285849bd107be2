#include "formats/idx.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "formats/files.h"
#include "headscope/error.h"

namespace headscope {

namespace {

struct Close {
  void operator()(gzFile_s* file) const { gzclose(file); }
};

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path) {
    (void)files::open_to_read(path);  // says what is wrong with the path
    file_.reset(gzopen(path.c_str(), "rb"));
    if (file_ == nullptr)
      throw Error(ErrorCode::kIo, fmt::format("[{}] cannot be opened", path.string()));
  }

  /// Reads up to `count` bytes; fewer only at the end of the file.
  std::size_t read(std::uint8_t* to, std::size_t count) {
    std::size_t have = 0;
    while (have < count) {
      const auto ask = static_cast<unsigned>(std::min<std::size_t>(count - have, 1U << 20));
      const int got = gzread(file_.get(), to + have, ask);
      if (got < 0) throw wrong("numbers", "damaged data");
      if (got == 0) break;
      have += static_cast<std::size_t>(got);
    }
    return have;
  }

  [[nodiscard]] Error wrong(std::string_view expected, std::string_view found) const {
    return Error(ErrorCode::kFormat,
                 fmt::format("[{}] expected {}, found {}", path_.string(), expected, found));
  }

 private:
  const std::filesystem::path& path_;
  std::unique_ptr<gzFile_s, Close> file_;
};

}  // namespace

Tensor read_idx(const std::filesystem::path& path, std::int64_t limit) {
  Reader file(path);
  std::array<std::uint8_t, 4> head{};
  if (file.read(head.data(), head.size()) != head.size() || head[0] != 0 || head[1] != 0)
    throw file.wrong("an IDX file", "something else");
  constexpr std::uint8_t kBytes = 0x08;
  if (head[2] != kBytes)
    throw file.wrong("unsigned bytes (type 0x08)", fmt::format("type {:#04x}", head[2]));
  if (head[3] < 1 || head[3] > 4) throw file.wrong("1 to 4 axes", std::to_string(head[3]));
  Shape shape;
  std::int64_t all = 1;
  for (int axis = 0; axis < head[3]; ++axis) {
    std::array<std::uint8_t, 4> n{};
    if (file.read(n.data(), n.size()) != n.size())
      throw file.wrong("its shape", "the end of the file");
    const std::int64_t length = std::int64_t{n[0]} << 24 | n[1] << 16 | n[2] << 8 | n[3];
    shape.push_back(length);
    if (length == 0) throw file.wrong("numbers", "an axis of length 0");
    if (length > limit / all) {
      throw Error(
          ErrorCode::kResources,
          fmt::format("[{}] expected at most {} numbers, found more", path.string(), limit));
    }
    all *= length;
  }
  // Room grows with what is there, not by what the file claims.
  std::vector<std::uint8_t> numbers;
  while (static_cast<std::int64_t>(numbers.size()) < all) {
    const std::size_t have = numbers.size();
    const std::size_t more = std::min<std::size_t>(static_cast<std::size_t>(all) - have,
                                                   std::max<std::size_t>(1U << 16, have));
    numbers.resize(have + more);
    const std::size_t got = file.read(numbers.data() + have, more);
    if (got < more) {
      throw file.wrong(fmt::format("{} numbers", all), fmt::format("{}", have + got));
    }
  }
  std::uint8_t beyond = 0;
  if (file.read(&beyond, 1) != 0) throw file.wrong(fmt::format("{} numbers", all), "more");
  return Tensor::copy_of(
      {DType::kU8, std::move(shape), reinterpret_cast<const std::byte*>(numbers.data())});
}

}  // namespace headscope
