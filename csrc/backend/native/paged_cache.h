#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "backend/native/kernels/kernels.h"
#include "backend/native/memory.h"
#include "skywork_rt/model_spec.h"

namespace skywork_rt::native {

/// Keys and values of all sequences, in pages of kPageTokens positions that sequences share by count.
///
/// A page holds every layer: [layer][kv head] a region of keys [head_dim][kPageTokens] (padded to 16 dimensions), then
/// one of values [kPageTokens][padded head_dim]. A shared page is copied when one of its sequences is about to write
/// to it, so a fork costs at most one page, and nothing until it is used. Pages are taken as sequences grow: whoever
/// opens them keeps count (Traits::block_tokens).
class PagedCache {
 public:
  /// Room for `max_tokens`, rounded up to whole pages, in at most `max_sequences` sequences.
  PagedCache(const ModelSpec& spec, CacheKind kind, std::size_t max_tokens, int max_sequences);

  /// Bytes of keys and values of one token, heads padded.
  static std::size_t BytesPerToken(const ModelSpec& spec, CacheKind kind);

  CacheKind kind() const { return kind_; }
  int padded_dim() const { return padded_dim_; }
  std::size_t region_bytes() const { return region_bytes_; }
  std::size_t max_tokens() const { return max_tokens_; }
  std::size_t max_sequences() const { return max_sequences_; }

  SeqId Open(std::size_t max_tokens);
  void Close(SeqId seq);
  void Reorder(Span<const SeqId> from, Span<const SeqId> to);
  void Copy(SeqId from, SeqId to, std::size_t length);
  void Truncate(SeqId seq, std::size_t length);
  std::size_t Length(SeqId seq) const;
  std::size_t Reserved(SeqId seq) const;

  /// Makes the next `tokens` positions of `seq` writable. The caller has checked that they fit its longest. Throws
  /// kBusy when there is no free page; what was prepared until then, Unprepare takes back.
  void Prepare(SeqId seq, std::size_t tokens);
  /// Gives back pages behind the sequence's last token.
  void Unprepare(SeqId seq);
  /// The prepared and now written positions become part of the sequence.
  void Commit(SeqId seq, std::size_t tokens);

  /// Start of each page of the sequence; a layer's head lies at the offsets below.
  const std::vector<std::uint8_t*>& Pages(SeqId seq) const { return Get(seq).pages; }
  std::size_t KeysOffset(int layer, int head) const;
  std::size_t ValuesOffset(int layer, int head) const { return KeysOffset(layer, head) + region_bytes_; }

  /// Pages in use, shared ones counted once.
  std::size_t PagesInUse() const { return next_fresh_ - free_.size(); }

 private:
  struct Sequence {
    std::vector<std::uint8_t*> pages;
    std::size_t length = 0;
    std::size_t reserved = 0;  // tokens that it may hold; `pages` has the capacity for them
  };

  const Sequence& Get(SeqId seq) const;
  Sequence& Get(SeqId seq);
  std::size_t IndexOf(const std::uint8_t* page) const;
  std::uint8_t* TakePage();
  void DropPage(std::uint8_t* page);
  void CutPages(Sequence& sequence, std::size_t keep);

  const CacheKind kind_;
  const int kv_heads_;
  const int padded_dim_;
  const std::size_t region_bytes_;  // keys or values of one head in one page
  const std::size_t page_bytes_;
  const std::size_t max_tokens_;
  const std::size_t max_sequences_;
  const std::size_t max_pages_;
  AnonymousMemory memory_;
  std::vector<std::uint32_t> users_;               // of each page
  std::vector<std::uint8_t*> free_;                // used before, the latest last
  std::size_t next_fresh_ = 0;                     // pages from here on were never touched
  std::unordered_map<SeqId, Sequence> sequences_;  // looked up several times a row and step
  SeqId next_id_ = 1;
};

}  // namespace skywork_rt::native
