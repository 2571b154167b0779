#include "lib/layout.h"

#include "lib/bytes.h"

size_t layout_size(const struct field *fields)
{
	size_t end = 0;

	for (const struct field *f = fields; f->kind != FIELD_NONE; f++)
		if (f->at + f->width > end)
			end = f->at + f->width;
	return end;
}

static void decode_one(const struct field *f, const uint8_t *disk, uint8_t *member)
{
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (f->width) {
	case 2:
		v16 = f->kind == FIELD_BE ? get_be16(disk) : get_le16(disk);
		memcpy(member, &v16, sizeof(v16));
		break;
	case 4:
		v32 = f->kind == FIELD_BE ? get_be32(disk) : get_le32(disk);
		memcpy(member, &v32, sizeof(v32));
		break;
	case 8:
		v64 = f->kind == FIELD_BE ? get_be64(disk) : get_le64(disk);
		memcpy(member, &v64, sizeof(v64));
		break;
	}
}

static void encode_one(const struct field *f, const uint8_t *member, uint8_t *disk)
{
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (f->width) {
	case 2:
		memcpy(&v16, member, sizeof(v16));
		f->kind == FIELD_BE ? put_be16(disk, v16) : put_le16(disk, v16);
		break;
	case 4:
		memcpy(&v32, member, sizeof(v32));
		f->kind == FIELD_BE ? put_be32(disk, v32) : put_le32(disk, v32);
		break;
	case 8:
		memcpy(&v64, member, sizeof(v64));
		f->kind == FIELD_BE ? put_be64(disk, v64) : put_le64(disk, v64);
		break;
	}
}

void layout_decode(const struct field *fields, const uint8_t *disk, void *host)
{
	for (const struct field *f = fields; f->kind != FIELD_NONE; f++) {
		uint8_t *member = (uint8_t *)host + f->member;

		if (f->kind == FIELD_RAW)
			memcpy(member, disk + f->at, f->width);
		else
			decode_one(f, disk + f->at, member);
	}
}

void layout_encode(const struct field *fields, const void *host, uint8_t *disk)
{
	for (const struct field *f = fields; f->kind != FIELD_NONE; f++) {
		const uint8_t *member = (const uint8_t *)host + f->member;

		if (f->kind == FIELD_RAW)
			memcpy(disk + f->at, member, f->width);
		else
			encode_one(f, member, disk + f->at);
	}
}
