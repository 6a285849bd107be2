#include "formats/conllu.h"

#include <gtest/gtest.h>
#include <lzma.h>

#include <string>
#include <vector>

#include "formats/scratch.h"
#include "formats/xz.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"

namespace headscope {
namespace {

std::string row(const std::string& id,
                const std::string& form,
                const std::string& head,
                const std::string& relation,
                const std::string& misc = "_") {
  return id + '\t' + form + "\t_\tX\t_\tCase=Nom\t" + head + '\t' + relation + "\t_\t" + misc +
         '\n';
}

std::string packed(const std::string& text) {
  std::string out(lzma_stream_buffer_bound(text.size()), '\0');
  std::size_t size = 0;
  const lzma_ret done = lzma_easy_buffer_encode(6,
                                                LZMA_CHECK_CRC64,
                                                nullptr,
                                                reinterpret_cast<const std::uint8_t*>(text.data()),
                                                text.size(),
                                                reinterpret_cast<std::uint8_t*>(out.data()),
                                                &size,
                                                out.size());
  EXPECT_EQ(done, LZMA_OK);
  out.resize(size);
  return out;
}

template <typename Call>
std::string complaint(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Conllu, WordsStandWhereTheTextHasThem) {
  const auto sentences = conllu::parse(
      "# sent_id = a\n" + row("1", "Мы", "2", "nsubj") +
          row("2-3", "don't", "_", "_", "SpaceAfter=No") + row("2", "do", "0", "root") +
          row("3", "n't", "2", "advmod") + row("3.1", "ghost", "2", "dep") +
          row("4", ".", "2", "punct") + "\n" + row("1-2", "wanna", "_", "_") +
          row("1", "want", "0", "root") + row("2", "to", "1", "mark"),
      "test");
  ASSERT_EQ(sentences.size(), 2U);
  const conllu::Sentence& first = sentences[0];
  EXPECT_EQ(first.id, "a");
  EXPECT_EQ(first.text, "Мы don't.");
  ASSERT_EQ(first.words.size(), 4U);
  for (const conllu::Word& word : first.words) {
    EXPECT_EQ(first.text.substr(word.begin, word.end - word.begin), word.form);
  }
  EXPECT_EQ(first.words[0].head, 1);
  EXPECT_EQ(first.words[1].head, -1);
  EXPECT_EQ(first.words[2].relation, "advmod");
  EXPECT_EQ(first.words[3].features, "Case=Nom");
  // Letters that do not add up: both words stand where the token stands.
  EXPECT_EQ(sentences[1].id, "2");
  EXPECT_EQ(sentences[1].text, "wanna");
  EXPECT_EQ(sentences[1].words[1].begin, 0U);
  EXPECT_EQ(sentences[1].words[1].end, 5U);
  EXPECT_EQ(conllu::without_subtype("nsubj:pass"), "nsubj");
  EXPECT_EQ(conllu::without_subtype("nsubj"), "nsubj");
}

TEST(Conllu, ErrorsNameTheLine) {
  const auto found = [](const std::string& text) {
    return complaint([&] { (void)conllu::parse(text, "t"); });
  };
  EXPECT_EQ(found("# x\n1\tonly\n"),
            "[t:2] expected ten columns separated by tabs, found \"only\"");
  EXPECT_EQ(found(row("2", "a", "0", "root")), "[t:1] expected word 1, found \"2\"");
  EXPECT_EQ(found(row("1", "a", "x", "root")), "[t:1] expected the number of a head, found \"x\"");
  EXPECT_EQ(found(row("1", "a", "7", "root") + "\n"),
            "[t:2] expected heads within the sentence, found \"7\"");
  EXPECT_EQ(found(row("1-3", "a", "_", "_") + row("1", "a", "0", "root") + "\n"),
            "[t:3] expected the words of a token, found \"the end of its sentence\"");
  EXPECT_EQ(found(row("3-2", "a", "_", "_")),
            "[t:1] expected a range of the next words, found \"3-2\"");
}

TEST(ReadText, UnpacksXzAndRefusesDamagedOrEndlessFiles) {
  Scratch scratch;
  std::string text;
  for (int i = 0; i < 40'000; ++i) text += "слово " + std::to_string(i) + '\n';
  const auto path = scratch / "text.xz";
  const std::string whole = packed(text);
  write_file(path, std::string_view(whole));
  EXPECT_EQ(read_text(path), text);
  write_file(path, std::string_view(text));  // told by its bytes, not by its name
  EXPECT_EQ(read_text(path), text);
  write_file(path, std::string_view(whole + packed("more")));
  EXPECT_EQ(read_text(path), text + "more");
  write_file(path, std::string_view(whole).substr(0, whole.size() / 2));
  EXPECT_NE(complaint([&] { (void)read_text(path); }).find("its end too early"), std::string::npos);
  std::string broken = whole;
  broken[broken.size() / 2] = static_cast<char>(broken[broken.size() / 2] ^ 0x55);
  write_file(path, std::string_view(broken));
  EXPECT_NE(complaint([&] { (void)read_text(path); }).find("damaged data"), std::string::npos);
  write_file(path, std::string_view(packed(std::string(1 << 22, 'a'))));  // 4 MB in 700 bytes
  EXPECT_NE(complaint([&] { (void)read_text(path, 1 << 20); }).find("at most 1048576 bytes"),
            std::string::npos);
}

}  // namespace
}  // namespace headscope
