#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "formats/bytes.h"
#include "formats/scratch.h"
#include "headscope/safetensors.h"

// Every allocation of this test program is weighed, so that "no more than the file's size" is a
// measurement.
namespace {
std::atomic<std::size_t> live{0};
std::atomic<std::size_t> peak{0};

void* weigh_or_null(std::size_t size) noexcept {
  void* p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) return nullptr;
  const std::size_t now = live += ::malloc_usable_size(p);
  if (now > peak) peak = now;
  return p;
}
void* weigh(std::size_t size) {
  void* p = weigh_or_null(size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void release(void* p) noexcept {
  if (p != nullptr) live -= ::malloc_usable_size(p);
  std::free(p);
}
}  // namespace

void* operator new(std::size_t size) { return weigh(size); }
void* operator new[](std::size_t size) { return weigh(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return weigh_or_null(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return weigh_or_null(size);
}
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t) noexcept { release(p); }

namespace headscope {
namespace {

/// Parses and reads every byte that the tensors claim. "well" or the code of the Error.
std::string read_all(std::span<const std::byte> file) {
  return outcome([file] {
    const Safetensors tensors = Safetensors::parse(file, "t");
    std::size_t total = 0;
    for (const auto& [name, view] : tensors.tensors()) {
      total += view.bytes();
      unsigned sum = 0;
      for (std::size_t i = 0; i < view.bytes(); ++i) sum += std::to_integer<unsigned>(view.data[i]);
      volatile unsigned sink = sum;  // the reads are the point
      (void)sink;
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view.data) % size_of(view.dtype), 0U);
    }
    EXPECT_LE(total, file.size());
  });
}

/// As read_all, and how many bytes stood allocated at the worst moment.
std::string weighed(std::span<const std::byte> file, std::size_t& most) {
  const std::size_t before = live;
  peak = before;
  std::string out = read_all(file);
  most = peak - before;
  return out;
}

/// Three small tensors and one of 16 KiB, as the writer writes them.
std::string small_file() {
  const Scratch scratch;
  const Tensor a = Tensor::zeros(DType::kF32, {2, 3});
  const Tensor b = Tensor::zeros(DType::kBF16, {5});
  const Tensor c = Tensor::zeros(DType::kBool, {2});
  const Tensor d = Tensor::zeros(DType::kF32, {64, 64});
  write_safetensors(scratch / "a",
                    {{"a", a.any()}, {"голова", b.any()}, {"c", c.any()}, {"d", d.any()}},
                    {{"format", "pt"}});
  return read_file(scratch / "a");
}

/// Copied to memory that ends where the text ends, so that AddressSanitizer sees one byte beyond.
std::vector<std::byte> exact(std::string_view text) {
  const auto bytes = bytes_of(text);
  return {bytes.begin(), bytes.end()};
}

TEST(HostileSafetensors, EveryPrefixIsRefusedAndAllocatesLessThanTheFile) {
  const std::string file = small_file();
  ASSERT_EQ(read_all(bytes_of(file)), "well");
  for (std::size_t n = 0; n < file.size(); ++n) {
    const std::vector<std::byte> prefix = exact(std::string_view(file).substr(0, n));
    std::size_t most = 0;
    ASSERT_EQ(weighed(prefix, most), "format") << n;
    ASSERT_LE(most, file.size()) << n;
  }
}

TEST(HostileSafetensors, AnAlteredLengthIsRefusedOrHarmless) {
  const std::string file = small_file();
  std::map<std::string, int> outcomes;
  for (std::size_t i = 0; i < 8; ++i) {
    for (int value = 0; value < 256; ++value) {
      std::vector<std::byte> altered = exact(file);
      if (altered[i] == static_cast<std::byte>(value)) continue;
      altered[i] = static_cast<std::byte>(value);
      std::size_t most = 0;
      const std::string end = weighed(altered, most);
      // A shorter or longer header leaves data uncovered or JSON unfinished: never well.
      ASSERT_EQ(end, "format") << i << ' ' << value;
      ASSERT_LE(most, file.size()) << i << ' ' << value;
    }
  }
}

TEST(HostileSafetensors, AnAlteredHeaderIsRefusedOrHarmless) {
  const std::string file = small_file();
  const std::size_t data = file.find("}}") + 2;
  std::map<std::string, int> outcomes;
  for (std::size_t i = 8; i < data; ++i) {
    for (int value = 0; value < 256; ++value) {
      std::vector<std::byte> altered = exact(file);
      altered[i] = static_cast<std::byte>(value);
      std::size_t most = 0;
      const std::string end = weighed(altered, most);
      ++outcomes[end];
      ASSERT_TRUE(end == "well" || end == "format" || end == "unsupported") << i << ' ' << value;
      ASSERT_LE(most, file.size()) << i << ' ' << value;
    }
  }
  EXPECT_GT(outcomes["format"], outcomes["well"]);
  EXPECT_GT(outcomes["well"], 0);  // Letters of names may be others.
}

TEST(HostileSafetensors, TheGreediestHeadersCostAFewTimesTheirLength) {
  const std::size_t n = 200'000;
  std::string entries;
  std::string metadata;
  for (int i = 0; i < 20'000; ++i) {
    const std::string name = std::to_string(i);
    entries += '"' + name + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)";
    metadata += '"' + name + R"(":"",)";
  }
  entries.pop_back();
  metadata.pop_back();
  std::string ones(2 * n, ',');
  for (std::size_t i = 0; i < ones.size(); i += 2) ones[i] = '1';
  ones.pop_back();
  std::string brackets;
  while (brackets.size() < n) brackets += "[],";
  brackets.pop_back();
  const std::string text(n, 'x');
  const std::string escapes = [] {
    std::string out;
    while (out.size() < n) out += "\\u0001";
    return out;
  }();
  const std::map<std::string, std::string> headers = {
      {"entries", '{' + entries + '}'},
      {"metadata", R"({"__metadata__":{)" + metadata + "}}"},
      {"long shape", R"({"a":{"dtype":"U8","shape":[)" + ones + R"(],"data_offsets":[0,0]}})"},
      {"long offsets", R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[)" + ones + "]}}"},
      {"brackets", R"({"a":{"shape":[)" + brackets + "]}}"},
      {"unknown brackets", R"({"a":{"x":[)" + brackets + "]}}"},
      {"unknown numbers", R"({"a":{"x":[)" + ones + "]}}"},
      {"array for tensor", R"({"a":[)" + ones + "]}"},
      {"long name", "{\"" + text + "\":1}"},
      {"long dtype", R"({"a":{"dtype":")" + text + R"("}})"},
      {"long escapes", "{\"" + escapes + "\":1}"},
      {"unfinished name", "{\"" + text},
      {"unfinished metadata", R"({"__metadata__":{)" + metadata},
      {"spaces", '{' + std::string(n, ' ')},
  };
  for (const auto& [what, header] : headers) {
    const std::string file = file_of(header, "");
    std::size_t most = 0;
    const std::string end = weighed(bytes_of(file), most);
    EXPECT_EQ(end, what == "entries" || what == "metadata" ? "well" : "format") << what;
    EXPECT_LE(most, 12 * file.size() + 4096) << what;
    RecordProperty(what,
                   std::to_string(static_cast<double>(most) / static_cast<double>(file.size())));
  }
}

TEST(HostileSafetensors, NumbersOfTensorsAndMetadataAreBounded) {
  std::string header = R"({"__metadata__":{)";
  for (int i = 0; i < 100'001; ++i) header += '"' + std::to_string(i) + R"(":"",)";
  header.back() = '}';
  EXPECT_EQ(read_all(bytes_of(file_of(header + '}', ""))), "resources");
}

TEST(HostileSafetensors, EveryFileOfTheFolderIsAnsweredAsItsNameSays) {
  const auto folder = std::filesystem::path(HEADSCOPE_SOURCE_DIR) / "tests/hostile/safetensors";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string expected = name.substr(0, name.find('-'));
    const std::string text = read_file(entry.path());
    const std::vector<std::byte> file = exact(text);
    EXPECT_EQ(read_all(file), expected) << name;
    EXPECT_EQ(outcome([&] { Safetensors::open(entry.path()); }), expected) << name;
    const std::string message = message_of([&] { Safetensors::parse(file, "t"); });
    EXPECT_EQ(message.find('\n'), std::string::npos) << name;
    EXPECT_LT(message.size(), 600U) << name << '\n' << message;
    ++files;
  }
  EXPECT_GE(files, 90);
}

TEST(HostileSafetensors, NoPrefixOfAnyFileOfTheFolderDoesHarm) {
  const auto folder = std::filesystem::path(HEADSCOPE_SOURCE_DIR) / "tests/hostile/safetensors";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string text = read_file(entry.path());
    const bool well = entry.path().filename().string().starts_with("well");
    for (std::size_t n = 0; n < text.size(); n += 1 + n / 64) {
      const std::string end = read_all(exact(std::string_view(text).substr(0, n)));
      if (well) {
        EXPECT_EQ(end, "format") << entry.path() << ' ' << n;
      } else {  // Some are good files with a tail too long, so a prefix may be well.
        EXPECT_TRUE(end == "format" || end == "unsupported" || end == "well") << entry.path();
      }
    }
  }
}

}  // namespace
}  // namespace headscope
