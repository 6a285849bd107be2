#include "formats/xz.h"

#include <fmt/format.h>
#include <lzma.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "headscope/error.h"
#include "headscope/safetensors.h"

namespace headscope {

namespace {

constexpr std::string_view kMagic{
    "\xFD"
    "7zXZ\0",
    6};
/// What a decoder may take for its dictionary: the largest preset of xz (-9) needs 65 MiB.
constexpr std::uint64_t kDecoderMemory = std::uint64_t{128} << 20;

struct Stream {
  lzma_stream state = LZMA_STREAM_INIT;
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { lzma_end(&state); }
};

Error damaged(const std::filesystem::path& path, lzma_ret answer) {
  const auto error = [&](ErrorCode code, std::string_view found) {
    return Error(code, fmt::format("[{}] expected an xz file, found {}", path.string(), found));
  };
  switch (answer) {
    case LZMA_MEM_ERROR:
    case LZMA_MEMLIMIT_ERROR:
      return error(ErrorCode::kResources, "one that takes more than 128 MiB to unpack");
    case LZMA_OPTIONS_ERROR:
      return error(ErrorCode::kUnsupported, "filters that this build does not know");
    case LZMA_BUF_ERROR:
      return error(ErrorCode::kFormat, "its end too early");
    default:
      return error(ErrorCode::kFormat, "damaged data");
  }
}

std::string unpack(const std::filesystem::path& path,
                   std::span<const std::byte> packed,
                   std::size_t limit) {
  Stream stream;
  if (const lzma_ret made = lzma_stream_decoder(&stream.state, kDecoderMemory, LZMA_CONCATENATED);
      made != LZMA_OK) {
    throw damaged(path, made);
  }
  std::string out;
  stream.state.next_in = reinterpret_cast<const std::uint8_t*>(packed.data());
  stream.state.avail_in = packed.size();
  // Room grows with what has come out, never by what the file claims.
  for (std::size_t have = 0;;) {
    if (have == out.size()) out.resize(std::max<std::size_t>(std::size_t{1} << 16, 2 * have));
    stream.state.next_out = reinterpret_cast<std::uint8_t*>(out.data()) + have;
    stream.state.avail_out = out.size() - have;
    const lzma_ret answer = lzma_code(&stream.state, LZMA_FINISH);
    have = out.size() - stream.state.avail_out;
    if (have > limit) {
      throw Error(ErrorCode::kResources,
                  fmt::format("[{}] expected at most {} bytes of text, found more after unpacking",
                              path.string(),
                              limit));
    }
    if (answer == LZMA_STREAM_END) {
      out.resize(have);
      return out;
    }
    if (answer != LZMA_OK) throw damaged(path, answer);
  }
}

}  // namespace

std::string read_text(const std::filesystem::path& path, std::size_t limit) {
  const auto file = MappedFile::open(path);
  const std::span<const std::byte> bytes = file->bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with(kMagic)) return unpack(path, bytes, limit);
  if (text.size() > limit) {
    throw Error(
        ErrorCode::kResources,
        fmt::format(
            "[{}] expected at most {} bytes of text, found {}", path.string(), limit, text.size()));
  }
  return std::string(text);
}

}  // namespace headscope
