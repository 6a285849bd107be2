#include "headscope/safetensors.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "formats/bytes.h"
#include "formats/scratch.h"

namespace headscope {
namespace {

using Tensors = std::map<std::string, AnyView, std::less<>>;
using Metadata = std::map<std::string, std::string, std::less<>>;

constexpr DType kAll[] = {DType::kF32,
                          DType::kBF16,
                          DType::kF16,
                          DType::kF64,
                          DType::kI64,
                          DType::kI32,
                          DType::kI16,
                          DType::kI8,
                          DType::kU64,
                          DType::kU32,
                          DType::kU16,
                          DType::kU8,
                          DType::kBool,
                          DType::kF8E4M3,
                          DType::kF8E5M2};

/// Numbers whose every byte differs from its neighbours (bools excepted).
Tensor filled(DType dtype, const Shape& shape) {
  Tensor tensor(dtype, shape);
  for (std::size_t i = 0; i < tensor.bytes(); ++i) {
    tensor.raw()[i] = static_cast<std::byte>(dtype == DType::kBool ? i % 2 : i * 37 + 11);
  }
  return tensor;
}

void expect_same(const AnyView& a, const AnyView& b, const std::string& name) {
  EXPECT_EQ(a.dtype, b.dtype) << name;
  EXPECT_EQ(a.shape, b.shape) << name;
  ASSERT_EQ(a.bytes(), b.bytes()) << name;
  if (a.bytes() == 0) return;
  EXPECT_EQ(std::memcmp(a.data, b.data, a.bytes()), 0) << name;
}

Safetensors parse(const std::string& file) { return Safetensors::parse(bytes_of(file), "t"); }

TEST(Safetensors, EveryDTypeAndShapeComesBackAsWritten) {
  const Scratch scratch;
  std::vector<Tensor> kept;
  Tensors tensors;
  for (const DType dtype : kAll) {
    for (const Shape& shape : {Shape{}, Shape{3}, Shape{2, 0, 5}, Shape{0}, Shape{3, 1, 5}}) {
      kept.push_back(filled(dtype, shape));
      tensors[std::string(name(dtype)) + to_string(shape)] = kept.back().any();
    }
  }
  const Metadata metadata = {{"format", "pt"}, {"ключ\n", "\"значение\" \\ \x01 😀"}};
  write_safetensors(scratch / "a.safetensors", tensors, metadata);

  const Safetensors back = Safetensors::open(scratch / "a.safetensors");
  EXPECT_EQ(back.metadata(), metadata);
  ASSERT_EQ(back.tensors().size(), tensors.size());
  for (const auto& [name, view] : tensors) {
    expect_same(back.at(name), view, name);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(back.at(name).data) % size_of(view.dtype), 0U);
  }
  EXPECT_EQ(scratch.files(), 1);
}

TEST(Safetensors, NamesMayBeAnyUtf8) {
  const Scratch scratch;
  const Tensor one = filled(DType::kF32, {2});
  Tensors tensors;
  for (const char* name :
       {"", "голова.0", "a\"b", "a\\b", "a\nb\tc", "\x7F\x01", "👁", "}:{,", "dtype"}) {
    tensors[name] = one.any();
  }
  tensors[std::string("nul\0inside", 10)] = one.any();
  write_safetensors(scratch / "a.safetensors", tensors);
  const Safetensors back = Safetensors::open(scratch / "a.safetensors");
  ASSERT_EQ(back.tensors().size(), tensors.size());
  for (const auto& [name, view] : tensors) expect_same(back.at(name), view, name);
}

TEST(Safetensors, EqualTensorsGiveEqualBytes) {
  const Scratch scratch;
  const Tensor a = filled(DType::kU8, {3});
  const Tensor b = filled(DType::kF64, {2});
  write_safetensors(scratch / "a", {{"a", a.any()}, {"b", b.any()}}, {{"k", "v"}});
  write_safetensors(scratch / "b", {{"b", b.any()}, {"a", a.any()}}, {{"k", "v"}});
  EXPECT_EQ(read_file(scratch / "a"), read_file(scratch / "b"));
}

TEST(Safetensors, NothingAtAllIsAFile) {
  const Scratch scratch;
  write_safetensors(scratch / "a", {});
  EXPECT_TRUE(Safetensors::open(scratch / "a").tensors().empty());
  EXPECT_TRUE(parse(file_of("{}   ", "")).tensors().empty());
}

TEST(Safetensors, UnalignedTensorsAreReadable) {
  // One byte, then a float that no machine can read in place, then a zero-sized one.
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]},)"
                             R"("c":{"dtype":"F64","shape":[0,4],"data_offsets":[9,9]}})";
  const float numbers[2] = {1.5F, -2.25F};
  std::string data = "x" + std::string(8, '\0');
  std::memcpy(data.data() + 1, numbers, 8);
  for (std::size_t pad = 0; pad < 8; ++pad) {
    const std::string bytes = file_of(header + std::string(pad, ' '), data);
    const Safetensors file = parse(bytes);
    const auto b = file.at("b").view<float, 1>();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.data) % 4, 0U);
    EXPECT_EQ(b(0), 1.5F);
    EXPECT_EQ(b(1), -2.25F);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.at("c").data) % 8, 0U);
    EXPECT_EQ(file.at("c").size(), 0);
  }
}

TEST(Safetensors, ViewsOutliveTheCopyOfTheirOwner) {
  const Scratch scratch;
  const Tensor one = filled(DType::kF32, {4});
  write_safetensors(scratch / "a", {{"a", one.any()}});
  Safetensors second;
  {
    const Safetensors first = Safetensors::open(scratch / "a");
    second = first;
  }
  expect_same(second.at("a"), one.any(), "a");
}

TEST(Safetensors, FieldsTheFormatDoesNotKnowArePassedOver) {
  const std::string header =
      R"({"a":{"extra":{"deep":[1,[2,{"x":null}]]},"dtype":"U8","shape":[2],"note":"hm",)"
      R"("data_offsets":[0,2],"more":-1.5}})";
  EXPECT_EQ(parse(file_of(header, "xy")).at("a").size(), 2);
}

TEST(Safetensors, AMissingNameIsAnsweredWithTheNearest) {
  const std::string header =
      R"({"bert.embeddings.word":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
      R"("layer.0.query":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},)"
      R"("layer.1.query":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})";
  const Safetensors file = parse(file_of(header, "xyz"));
  EXPECT_EQ(file.find("layer.1.querry"), nullptr);
  EXPECT_EQ(message_of([&] { (void)file.at("layer.1.querry"); }),
            "[t] expected a tensor \"layer.1.querry\", found none; "
            "the nearest name is \"layer.1.query\"");
  EXPECT_EQ(outcome([&] { (void)file.at("x"); }), "not_found");
  EXPECT_EQ(message_of([&] { (void)parse(file_of("{}", "")).at("x"); }),
            "[t] expected a tensor \"x\", found no tensors");
  // Names from hostile files cost bounded work.
  EXPECT_EQ(outcome([&] { (void)file.at(std::string(50'000'000, 'q')); }), "not_found");
}

TEST(Safetensors, WriterRefusesWhatReadersWould) {
  const Scratch scratch;
  const Tensor one = filled(DType::kU8, {1});
  const auto write = [&](const Tensors& tensors, const Metadata& metadata = {}) {
    return outcome([&] { write_safetensors(scratch / "a", tensors, metadata); });
  };
  EXPECT_EQ(write({{"a", AnyView{DType::kF32, {2}, nullptr}}}), "shape");
  EXPECT_EQ(write({{"a", AnyView{DType::kF32, {-2}, one.raw()}}}), "shape");
  EXPECT_EQ(write({{"a", AnyView{DType::kF32, {std::int64_t{1} << 62}, one.raw()}}}), "shape");
  EXPECT_EQ(write({{"a", AnyView{DType::kU8, Shape(65, 1), one.raw()}}}), "shape");
  EXPECT_EQ(write({{"__metadata__", one.any()}}), "usage");
  EXPECT_EQ(write({{"\xFF", one.any()}}), "input");
  EXPECT_EQ(write({{"a", one.any()}}, {{"k", "\xC0\x80"}}), "input");
  EXPECT_EQ(scratch.files(), 0);
  EXPECT_EQ(write({{"a", AnyView{DType::kF32, {2, 0}, nullptr}}}), "well");
}

TEST(Safetensors, FoldersHoldModelFiles) {
  const Scratch scratch;
  EXPECT_EQ(outcome([&] { Safetensors::open(scratch.path()); }), "not_found");
  const Tensor one = filled(DType::kU8, {1});
  write_safetensors(scratch / "model.safetensors", {{"a", one.any()}});
  EXPECT_EQ(Safetensors::open(scratch.path()).tensors().size(), 1U);
}

TEST(Safetensors, WhatIsNoFileIsNamed) {
  const Scratch scratch;
  const auto path = (scratch / "none.safetensors").string();
  EXPECT_EQ(message_of([&] { Safetensors::open(path); }),
            "[" + path + "] cannot open: No such file or directory");
  EXPECT_EQ(outcome([&] { Safetensors::open(path); }), "not_found");
  EXPECT_EQ(outcome([&] { Safetensors::open("/dev/zero"); }), "input");
  EXPECT_EQ(outcome([&] { MappedFile::open(scratch.path()); }), "input");
}

class Shards : public testing::Test {
 protected:
  void SetUp() override {
    write_safetensors(scratch_ / "one.safetensors", {{"a", a_.any()}}, {{"format", "pt"}});
    write_safetensors(scratch_ / "two.safetensors",
                      {{"b", b_.any()}, {"c", a_.any()}},
                      {{"format", "pt"}, {"part", "2"}});
  }
  std::string open(const std::string& index) {
    write_file(scratch_ / "model.safetensors.index.json", index);
    return outcome([&] { Safetensors::open(scratch_.path()); });
  }

  const Scratch scratch_;
  const Tensor a_ = filled(DType::kF32, {2, 3});
  const Tensor b_ = filled(DType::kBF16, {5});
};

TEST_F(Shards, AreOneSetOfTensors) {
  EXPECT_EQ(open(R"({"metadata":{"total_size":58},"weight_map":{"a":"one.safetensors",
      "b":"two.safetensors","c":"two.safetensors"}})"),
            "well");
  const Safetensors all = Safetensors::open(scratch_ / "model.safetensors.index.json");
  EXPECT_EQ(all.tensors().size(), 3U);
  expect_same(all.at("a"), a_.any(), "a");
  expect_same(all.at("b"), b_.any(), "b");
  EXPECT_EQ(all.metadata(), (Metadata{{"format", "pt"}, {"part", "2"}}));
}

TEST_F(Shards, MustLieBesideTheIndex) {
  std::filesystem::create_directory(scratch_ / "sub");
  std::filesystem::copy_file(scratch_ / "one.safetensors", scratch_ / "sub/one.safetensors");
  const std::string absolute = (scratch_ / "one.safetensors").string();
  for (const std::string& shard : {std::string("sub/one.safetensors"),
                                   std::string("../one.safetensors"),
                                   std::string("./one.safetensors"),
                                   std::string(".."),
                                   std::string("."),
                                   std::string(),
                                   std::string("sub\\\\one.safetensors"),
                                   std::string("one.safetensors\\u0000"),
                                   absolute}) {
    EXPECT_EQ(open(R"({"weight_map":{"a":")" + shard + R"("}})"), "format") << shard;
  }
}

TEST_F(Shards, ThatAreMissingAreNamed) {
  EXPECT_EQ(open(R"({"weight_map":{"a":"one.safetensors","d":"three.safetensors"}})"), "not_found");
  const std::string message = message_of([&] { Safetensors::open(scratch_.path()); });
  EXPECT_NE(message.find("expected the shard \"three.safetensors\" of \"d\""), std::string::npos)
      << message;
}

TEST_F(Shards, MustHoldWhatTheIndexPromises) {
  EXPECT_EQ(open(R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors"}})"), "format");
  const std::string message = message_of([&] { Safetensors::open(scratch_.path()); });
  EXPECT_NE(message.find("expected \"b\" in the shard \"one.safetensors\""), std::string::npos)
      << message;
}

TEST_F(Shards, MayNotRepeatATensor) {
  write_safetensors(scratch_ / "three.safetensors", {{"a", a_.any()}, {"d", b_.any()}});
  EXPECT_EQ(open(R"({"weight_map":{"a":"one.safetensors","d":"three.safetensors"}})"), "format");
  const std::string message = message_of([&] { Safetensors::open(scratch_.path()); });
  EXPECT_NE(
      message.find("expected \"a\" in one shard only, found it again in \"three.safetensors\""),
      std::string::npos)
      << message;
}

TEST_F(Shards, WithABrokenIndexAreRefused) {
  for (const char* index : {R"({})",
                            R"([])",
                            R"({"weight_map":[]})",
                            R"({"weight_map":{"a":1}})",
                            R"({"weight_map":{"a":"one.safetensors")",
                            R"({"weight_map":null})"}) {
    EXPECT_EQ(open(index), "format") << index;
  }
}

}  // namespace
}  // namespace headscope
