#include "headscope/gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/bytes.h"
#include "formats/gguf_format.h"
#include "formats/json.h"
#include "formats/scratch.h"

namespace headscope {
namespace {

using json::Value;

/// Copied to memory that ends where the file ends, so that AddressSanitizer sees one byte beyond.
std::vector<std::byte> exact(std::string_view text) {
  const auto bytes = bytes_of(text);
  return {bytes.begin(), bytes.end()};
}

/// Parses and reads every byte that the tensors claim. "well" or the code of the Error.
std::string read_all(std::span<const std::byte> file) {
  return outcome([file] {
    const Gguf gguf = Gguf::parse(file, "t");
    std::size_t total = 0;
    for (const auto& [name, view] : gguf.tensors()) {
      total += view.bytes();
      unsigned sum = 0;
      for (std::size_t i = 0; i < view.bytes(); ++i) sum += std::to_integer<unsigned>(view.data[i]);
      volatile unsigned sink = sum;  // the reads are the point
      (void)sink;
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view.data) % 8, 0U);
    }
    EXPECT_LE(total, file.size());
  });
}

Value some_metadata() {
  return {{"general.architecture", "llama"},
          {"llama.block_count", 2},
          {"llama.rope.freq_base", 10000.5},
          {"big", std::uint64_t{1} << 40},
          {"negative", -3},
          {"very negative", -(std::int64_t{1} << 40)},
          {"yes", true},
          {"tokens", {"a", "", "голова"}},
          {"scores", {-1.5, 2, 0.25}},
          {"types", {1, 2, -3}},
          {"flags", {true, false}},
          {"bytes", Value::binary({1, 2, 255})}};
}

/// A file of four tensors as the writer writes it.
std::string small_file(const Scratch& scratch, const Value& metadata) {
  Tensor a = Tensor::zeros(DType::kF32, {2, 3});
  for (std::size_t i = 0; i < 6; ++i) a.span<float>()[i] = static_cast<float>(i);
  const Tensor b = Tensor::zeros(DType::kBF16, {5});
  const Tensor c = Tensor::zeros(DType::kQ8_0, {3, 64});
  const Tensor d = Tensor::zeros(DType::kF32, {2, 1, 3, 4});
  write_gguf(scratch / "a.gguf",
             metadata,
             {{"c", source_of(c.any())},
              {"a", source_of(a.any())},
              {"голова", source_of(b.any())},
              {"d", source_of(d.any())}});
  return read_file(scratch / "a.gguf");
}

TEST(Gguf, WhatIsWrittenIsRead) {
  const Scratch scratch;
  (void)small_file(scratch, some_metadata());
  EXPECT_EQ(scratch.files(), 1);
  const Gguf file = Gguf::open(scratch / "a.gguf");
  EXPECT_EQ(file.metadata(), some_metadata());
  ASSERT_EQ(file.tensors().size(), 4U);
  EXPECT_EQ(file.at("a").shape, (Shape{2, 3}));
  EXPECT_EQ((file.at("a").view<float, 2>()(1, 2)), 5.0F);
  EXPECT_EQ(file.at("голова").dtype, DType::kBF16);
  EXPECT_EQ(file.at("c").dtype, DType::kQ8_0);
  EXPECT_EQ(file.at("c").shape, (Shape{3, 64}));
  EXPECT_EQ(file.at("d").shape, (Shape{2, 1, 3, 4}));
  EXPECT_EQ(file.find("b"), nullptr);
  const std::string message = message_of([&] { (void)file.at("aa"); });
  EXPECT_NE(message.find("\"a\""), std::string::npos) << message;
}

TEST(Gguf, TensorsAreAlignedAsTheMetadataSays) {
  for (const std::uint32_t alignment : {8U, 32U, 256U}) {
    const Scratch scratch;
    Value metadata = some_metadata();
    metadata["general.alignment"] = alignment;
    const std::string text = small_file(scratch, metadata);
    const std::vector<std::byte> bytes = exact(text);
    const Gguf file = Gguf::parse(bytes, "t");
    EXPECT_EQ(file.tensors().size(), 4U);
    for (const auto& [name, view] : file.tensors()) {
      EXPECT_EQ(static_cast<std::size_t>(view.data - bytes.data()) % alignment, 0U) << name;
    }
  }
}

TEST(Gguf, ViewsOutliveTheObjectTheyWereMovedFrom) {
  const Scratch scratch;
  (void)small_file(scratch, some_metadata());
  Gguf file = Gguf::open(scratch / "a.gguf");
  const Gguf kept = std::move(file);
  EXPECT_EQ((kept.at("a").view<float, 2>()(0, 1)), 1.0F);
}

TEST(Gguf, ASplitModelIsReadFromItsFirstFile) {
  const Scratch scratch;
  const Tensor a = Tensor::zeros(DType::kF32, {2});
  const auto write = [&](int part, const std::string& tensor) {
    write_gguf(scratch / ("m-0000" + std::to_string(part) + "-of-00002.gguf"),
               {{"split.count", 2}, {"split.no", part - 1}},
               {{tensor, source_of(a.any())}});
  };
  write(1, "a");
  const auto first = scratch / "m-00001-of-00002.gguf";
  const auto second = scratch / "m-00002-of-00002.gguf";
  EXPECT_EQ(outcome([&] { Gguf::open(first); }), "not_found");
  write(2, "b");
  EXPECT_EQ(Gguf::open(first).tensors().size(), 2U);
  EXPECT_EQ(outcome([&] { Gguf::open(second); }), "format");
  write(2, "a");
  EXPECT_EQ(outcome([&] { Gguf::open(first); }), "format");
}

TEST(Gguf, TensorsAreWrittenAPieceAtATime) {
  const Scratch scratch;
  std::size_t most = 0;
  std::int64_t next = 0;
  const TensorSource source{
      DType::kF32, {5000, 256}, [&](std::int64_t row, std::span<std::byte> to) {
        EXPECT_EQ(row, next);
        next += static_cast<std::int64_t>(to.size() / 1024);
        most = std::max(most, to.size());
        std::fill(to.begin(), to.end(), std::byte{1});
      }};
  write_gguf(scratch / "a.gguf", Value::object(), {{"a", source}});
  EXPECT_EQ(next, 5000);
  EXPECT_LE(most, std::size_t{1} << 20);
  next = 0;
  stream_safetensors(scratch / "a.safetensors", {{"a", source}});
  EXPECT_EQ(next, 5000);
  const Gguf gguf = Gguf::open(scratch / "a.gguf");
  const Safetensors same = Safetensors::open(scratch / "a.safetensors");
  EXPECT_EQ(std::memcmp(gguf.at("a").data, same.at("a").data, 5000 * 1024), 0);
}

TEST(Gguf, AFailureWhileWritingLeavesNothing) {
  const Scratch scratch;
  const TensorSource source{DType::kF32, {3, 2}, [](std::int64_t, std::span<std::byte>) {
                              throw Error(ErrorCode::kInput, "[test] no numbers");
                            }};
  EXPECT_EQ(outcome([&] { write_gguf(scratch / "a", Value::object(), {{"a", source}}); }), "input");
  const Tensor t = Tensor::zeros(DType::kF32, {2});
  const TensorSource good = source_of(t.any());
  const auto refused = [&](const Value& metadata, const std::string& name, const TensorSource& s) {
    return outcome([&] { write_gguf(scratch / "a", metadata, {{name, s}}); });
  };
  EXPECT_EQ(refused({{"a", nullptr}}, "a", good), "format");
  EXPECT_EQ(refused({{"a", Value::object()}}, "a", good), "format");
  EXPECT_EQ(refused({{"a", {1, "b"}}}, "a", good), "format");
  EXPECT_EQ(refused({{"general.alignment", 12}}, "a", good), "format");
  EXPECT_EQ(refused(Value::array(), "a", good), "format");
  EXPECT_EQ(refused(Value::object(), "", good), "format");
  EXPECT_EQ(refused(Value::object(), "a", {DType::kU64, {2}, good.read, t.raw()}), "dtype");
  EXPECT_EQ(refused(Value::object(), "a", {DType::kF32, {2, 1, 1, 1, 1}, good.read, t.raw()}),
            "shape");
  EXPECT_EQ(refused(Value::object(), "a", {DType::kQ8_0, {2, 16}, good.read, t.raw()}), "shape");
  EXPECT_EQ(outcome([&] { write_gguf(scratch / "a", {}, {{"a", good}, {"a", good}}); }), "format");
  EXPECT_EQ(scratch.files(), 0);
}

TEST(HostileGguf, EveryPrefixIsRefused) {
  const Scratch scratch;
  const std::string file = small_file(scratch, some_metadata());
  ASSERT_EQ(read_all(exact(file)), "well");
  const Gguf whole = Gguf::open(scratch / "a.gguf");
  // Behind the last tensor only padding may follow, which a file need not have.
  const AnyView& last = whole.at("d");
  ASSERT_LT(file.size() - last.bytes(), file.size());
  for (std::size_t n = 0; n < file.size() - 31; ++n) {
    ASSERT_EQ(read_all(exact(std::string_view(file).substr(0, n))), "format") << n;
  }
}

TEST(HostileGguf, AnAlteredByteIsRefusedOrHarmless) {
  const Scratch scratch;
  const std::string file = small_file(scratch, some_metadata());
  const std::size_t head = file.size() - 3 * 68 - 200;
  for (std::size_t i = 0; i < head; ++i) {
    for (int value = 0; value < 256; value += i < 24 ? 1 : 5) {
      std::vector<std::byte> altered = exact(file);
      altered[i] = static_cast<std::byte>(value);
      const std::string end = read_all(altered);
      ASSERT_TRUE(end == "well" || end == "format" || end == "unsupported") << i << ' ' << end;
    }
  }
}

TEST(HostileGguf, EveryFileOfTheFolderIsAnsweredAsItsNameSays) {
  const auto folder = std::filesystem::path(HEADSCOPE_SOURCE_DIR) / "tests/hostile/gguf";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string expected = name.substr(0, name.find('-'));
    const std::vector<std::byte> file = exact(read_file(entry.path()));
    EXPECT_EQ(read_all(file), expected) << name;
    EXPECT_EQ(outcome([&] { Gguf::open(entry.path()); }), expected) << name;
    const std::string message = message_of([&] { Gguf::parse(file, "t"); });
    EXPECT_EQ(message.find('\n'), std::string::npos) << name;
    EXPECT_LT(message.size(), 600U) << name << '\n' << message;
    ++files;
  }
  EXPECT_GE(files, 150);
}

TEST(HostileGguf, NoPrefixOfAnyFileOfTheFolderDoesHarm) {
  const auto folder = std::filesystem::path(HEADSCOPE_SOURCE_DIR) / "tests/hostile/gguf";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string text = read_file(entry.path());
    for (std::size_t n = 0; n < text.size(); n += 1 + n / 64) {
      const std::string end = read_all(exact(std::string_view(text).substr(0, n)));
      EXPECT_TRUE(end == "format" || end == "unsupported" || end == "well") << entry.path();
    }
  }
}

TEST(HostileGguf, MoreElementsThanAnyModelHasAreRefused) {
  std::string file = "GGUF" + std::string("\3\0\0\0", 4) + little_endian(0) + little_endian(1);
  file += little_endian(1) + "k" + std::string("\11\0\0\0", 4) + std::string("\7\0\0\0", 4);
  const std::size_t n = (std::size_t{1} << 23) + 1;
  file += little_endian(n) + std::string(n, '\1');
  EXPECT_EQ(read_all(exact(file)), "resources");
}

}  // namespace
}  // namespace headscope
